"""The documentation as a site: it builds without a warning, its links lead somewhere, its reference has everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from crypto_pipeline.settings import Settings
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.places import PROJECT

if not (PROJECT / "mkdocs.yml").exists():
    pytest.skip("not in a checkout", allow_module_level=True)

from docs_site import command_reference, http_reference, python_reference, sql_reference, stream_reference
from docs_site.build import build_site
from docs_site.claims import blocks, command_lines, wrong_addresses, wrong_calls, wrong_commands
from docs_site.links import broken_in_repository, broken_links, foreign_parts
from docs_site.markdown import as_anchor
from docs_site.stage import DOCS, PAGES

PAGES_AS_WRITTEN = [PROJECT / "README.md", *sorted(DOCS.rglob("*.md"))]


@pytest.fixture(scope="module")
def database(new_database: NewDatabase) -> Iterator[str]:
    with new_database("docs_site") as url:
        yield url


@pytest.fixture(scope="module")
def paths(database: str) -> dict[str, dict[str, object]]:
    """The routes of the application, as its OpenAPI document has them."""
    found: dict[str, dict[str, object]] = http_reference.document(database)["paths"]
    return found


@pytest.fixture(scope="module")
def site(database: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; Zensical's strict mode refuses links and anchors of Markdown that lead nowhere."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    build_site(folder, database)
    return folder


def anchors(page: Path) -> set[str]:
    return set(re.findall(r'id="?([^"\s>]+)', page.read_text()))


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    assert broken_links(site) == []
    assert foreign_parts(site) == []
    # the check itself sees a file and an anchor that are missing
    page = site / "index.html"
    page.write_text(page.read_text() + '<a href="none.html">1</a><a href="reading.html#none">2</a>')
    page.write_text(page.read_text() + '<script src="https://example.org/1.js"></script>')
    assert foreign_parts(site) == ["index.html: https://example.org/1.js"]
    assert broken_links(site) == ["index.html: none.html", "index.html: reading.html#none"]


def test_the_reference_has_every_public_thing(site: Path, database: str, paths: dict[str, dict[str, object]]) -> None:
    reference = site / "reference"
    assert {as_anchor(name) for name in python_reference.public_names()} <= anchors(reference / "python.html")
    assert set(Settings.model_fields) <= anchors(reference / "settings.html")
    commands = {as_anchor(*words[1:]) for words, _ in command_reference.commands()}
    assert len(commands) > 50
    assert commands <= anchors(reference / "commands.html")
    routes = {as_anchor(method, path) for path, methods in paths.items() for method in methods}
    assert routes <= anchors(reference / "http.html")
    channels = {as_anchor("frame", f"{kind}_rows") for kind in stream_reference.channels()}
    assert channels <= anchors(reference / "stream.html")
    relations = {as_anchor(one.schema, one.relation) for one in sql_reference.columns(database)}
    assert "market-ledger" in relations
    assert relations <= anchors(reference / "sql.html")


def test_every_table_and_every_column_of_a_view_says_what_it_is(database: str) -> None:
    columns = sql_reference.columns(database)
    assert {f"{one.schema}.{one.relation}" for one in columns if not one.about} == set()
    silent = {f"{one.schema}.{one.relation}.{one.name}" for one in columns if one.kind in "vm" and not one.meaning}
    assert silent == set()


def test_every_page_is_in_the_navigation_and_links_hold_in_the_repository() -> None:
    text = (PROJECT / "mkdocs.yml").read_text()
    named = set(re.findall(r"[\w/-]+\.md", yaml.safe_dump(yaml.safe_load(text)["nav"])))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} | set(PAGES)
    assert pages == named
    assert [line for page in PAGES_AS_WRITTEN for line in broken_in_repository(page)] == []


def test_pages_claim_nothing_that_the_code_denies(paths: dict[str, dict[str, object]]) -> None:
    wrong: list[str] = []
    for path in PAGES_AS_WRITTEN:
        page = path.read_text()
        wrong += [f"{path.name}: {claim}" for claim in wrong_commands(page) + wrong_calls(page)]
        wrong += [f"{path.name}: {address}" for address in wrong_addresses(page, set(paths))]
    assert wrong == []
    assert sum(len(list(command_lines(path.read_text()))) for path in PAGES_AS_WRITTEN) > 200


def test_queries_of_pages_run(database: str) -> None:
    queries = [
        statement
        for path in PAGES_AS_WRITTEN
        for block in blocks(path.read_text(), {"sql"})
        for statement in re.sub(r"(?m)^--.*\n", "", block).split(";")
        if statement.lstrip().startswith("SELECT")
    ]
    assert len(queries) > 8
    with connect(database) as connection:
        for query in queries:
            connection.execute(query)


def test_a_wrong_claim_is_found() -> None:
    page = """
Run `crypto-pipeline gapz`, then:

```sh
crypto-pipeline read BTC-USDT 1h --last 3 --lst 4
crypto-pipeline gaps list --state lost        # this one exists
curl 'http://127.0.0.1:8790/bar/BTC-USDT'
```

```python
crypto_pipeline.bars("BTC-USDT", "1h", begin="2026-11-20")
reader.newest()
```
"""
    assert wrong_commands(page) == ["read BTC-USDT 1h --last 3 --lst 4", "gapz"]
    assert len(wrong_calls(page)) == 1
    assert wrong_addresses(page, {"/bars/{symbol}"}) == ["/bar/BTC-USDT"]
