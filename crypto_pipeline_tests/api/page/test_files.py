"""The page's files: never mixed after an upgrade, nothing from elsewhere, small, and open to who has no token yet."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from crypto_pipeline import Reader
from crypto_pipeline.api.page.files import FOLDER, PageFiles, add_page_files
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline_tests.api.conftest import Served

#: Of all files as they travel.
MOST_BYTES = 500_000


@pytest.fixture(scope="module")
def guarded(served_database: str) -> Iterator[Served]:
    """A server with a token and a small rate."""
    settings = Settings(**{**load_settings().model_dump(), "api_token": "open sesame", "api_rate": 2.0})
    with Served(Reader(served_database, patience=2.0), settings) as running:
        yield running


def page_of(folder: Path) -> TestClient:
    app = FastAPI()
    add_page_files(app, PageFiles(folder))
    return TestClient(app)


def test_every_file_comes_to_whoever_has_no_token_and_counts_towards_no_rate(guarded: Served) -> None:
    with httpx.Client(base_url=guarded.url) as client:
        for name in PageFiles().files:
            answer = client.get("/" if name == "index.html" else f"/web/{name}")
            assert answer.status_code == 200, name
            policy = answer.headers["content-security-policy"]
            assert "script-src 'self'" in policy
            assert "style-src 'self'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert client.head("/").status_code == 200
        for path in ("/watchlist", "/alerts", "/shadow", "/schedules", "/health/details", "//web/../watchlist"):
            assert client.get(path).status_code in (401, 429), path
        assert client.post("/").status_code == 401


def test_a_file_is_sent_again_only_when_it_is_another_one(tmp_path: Path) -> None:
    (tmp_path / "js").mkdir()
    (tmp_path / "index.html").write_text("<meta name=build content={{build}}>{{modules}}")
    (tmp_path / "js" / "app.js").write_text("// one\n" * 200)
    old = page_of(tmp_path)
    first = old.get("/web/js/app.js", headers={"accept-encoding": "gzip"})
    assert first.headers["content-encoding"] == "gzip"
    assert first.headers["content-type"].startswith("text/javascript")
    assert first.headers["cache-control"] == "no-cache"
    known = {"if-none-match": first.headers["etag"]}
    again = old.get("/web/js/app.js", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    page = old.get("/").text
    assert old.get("/web/build").text in page
    assert '<link rel="modulepreload" href="web/js/app.js">' in page

    (tmp_path / "js" / "app.js").write_text("// two\n" * 200)
    assert old.get("/web/js/app.js").text == first.text, "a running server has the files it was started with"
    new = page_of(tmp_path)
    upgraded = new.get("/web/js/app.js", headers=known)
    assert (upgraded.status_code, upgraded.text) == (200, "// two\n" * 200)
    assert new.get("/web/build").text != old.get("/web/build").text, "an open page finds out that it is an old one"


@pytest.mark.parametrize("name", ["../settings.py", "..%2fsettings.py", "%2e%2e/settings.py", "nothing.js", "", "js"])
def test_nothing_but_the_files_of_the_page_is_sent(served: Served, name: str) -> None:
    answer = httpx.get(f"{served.url}/web/{name}")
    assert answer.status_code == 404
    assert "BaseSettings" not in answer.text


def test_the_page_is_small_and_runs_only_what_it_brings() -> None:
    files = PageFiles().files
    assert sum(len(one.packed or one.data) for one in files.values()) <= MOST_BYTES
    page = files["index.html"].data.decode()
    assert "{{" not in page
    for reference in re.findall(r'(?:src|href)="(web/[^"]+)"', page):
        assert reference.removeprefix("web/") in files
    assert re.search(r"<script(?![^>]*\ssrc=)|<style|\son\w+=|\sstyle=|javascript:", page) is None


def test_a_packed_file_is_the_file() -> None:
    for name, one in PageFiles().files.items():
        assert one.packed is None or gzip.decompress(one.packed) == one.data, name
        assert name == "index.html" or one.data == (FOLDER / name).read_bytes()
