"""The documentation as a site: it builds without a warning, its links lead somewhere, its reference has everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from crypto_pipeline.settings import Settings
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.places import PROJECT

if not (PROJECT / "mkdocs.yml").exists():
    pytest.skip("not in a checkout", allow_module_level=True)

from docs_site import command_reference, http_reference, python_reference, sql_reference
from docs_site.build import build_site
from docs_site.links import broken_in_repository, broken_links
from docs_site.markdown import as_anchor
from docs_site.stage import DOCS, PAGES


@pytest.fixture(scope="module")
def database(new_database: NewDatabase) -> Iterator[str]:
    with new_database("docs_site") as url:
        yield url


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
    # the check itself sees a file and an anchor that are missing
    page = site / "index.html"
    page.write_text(page.read_text() + '<a href="none.html">1</a><a href="reading.html#none">2</a>')
    assert broken_links(site) == ["index.html: none.html", "index.html: reading.html#none"]


def test_the_reference_has_every_public_thing(site: Path, database: str) -> None:
    reference = site / "reference"
    assert {as_anchor(name) for name in python_reference.public_names()} <= anchors(reference / "python.html")
    assert set(Settings.model_fields) <= anchors(reference / "settings.html")
    commands = {as_anchor(*words[1:]) for words, _ in command_reference.commands()}
    assert len(commands) > 50
    assert commands <= anchors(reference / "commands.html")
    routes = {
        as_anchor(method, path)
        for path, methods in http_reference.document(database)["paths"].items()
        for method in methods
    }
    assert routes <= anchors(reference / "http.html")
    relations = {as_anchor(one.schema, one.relation) for one in sql_reference.columns(database)}
    assert "market-ledger" in relations
    assert relations <= anchors(reference / "sql.html")


def test_every_page_is_in_the_navigation_and_links_hold_in_the_repository() -> None:
    text = (PROJECT / "mkdocs.yml").read_text()
    named = set(re.findall(r"[\w/-]+\.md", yaml.safe_dump(yaml.safe_load(text)["nav"])))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} | set(PAGES)
    assert pages == {page for page in named if not page.startswith("reference/")}
    assert [line for page in [PROJECT / "README.md", *DOCS.rglob("*.md")] for line in broken_in_repository(page)] == []
