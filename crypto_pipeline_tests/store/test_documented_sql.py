"""Every statement of docs/sql.md runs on a migrated database."""

from __future__ import annotations

import re

import pytest

from crypto_pipeline.store import EmbeddedServer
from crypto_pipeline.store.database.connect import connect, database_name
from crypto_pipeline_tests.builders.places import PROJECT

_PAGE = PROJECT / "docs" / "sql.md"


@pytest.mark.skipif(not _PAGE.exists(), reason="not in a checkout")
def test_the_documented_statements_run(postgres_url: str, postgres_server: EmbeddedServer) -> None:
    blocks = re.findall(r"```sql\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 7
    with connect(postgres_server.url(database_name(postgres_url)), autocommit=False) as connection:
        for block in blocks:
            connection.execute(block)
        connection.execute("SET ROLE dashboards")
        for block in blocks[1:]:
            connection.execute(block)
        connection.rollback()
