"""A mirror on the chdb engine, which has one folder in each process: every test has a database of its own in it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from crypto_pipeline.lake.clickhouse.engine import MirrorAddress, MirrorEngine
from crypto_pipeline.lake.clickhouse.tables import MirrorTables

_numbers = count()


@pytest.fixture(scope="session")
def chdb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("chdb", reason="the extra clickhouse is not installed")
    return tmp_path_factory.mktemp("chdb")


@pytest.fixture(scope="session")
def _kept_open(chdb_folder: Path) -> Iterator[None]:
    """To open the engine takes a second."""
    with MirrorEngine(address(chdb_folder, "kept")):
        yield


def address(folder: Path, database: str) -> MirrorAddress:
    return MirrorAddress(f"chdb://{folder}/{database}", database, {"interface": "chdb", "path": str(folder)})


@pytest.fixture
def engine(chdb_folder: Path, _kept_open: None) -> Iterator[MirrorEngine]:
    with MirrorEngine(address(chdb_folder, f"test_{next(_numbers)}")) as opened:
        yield opened


@pytest.fixture
def tables(engine: MirrorEngine) -> MirrorTables:
    made = MirrorTables(engine)
    made.prepare()
    return made
