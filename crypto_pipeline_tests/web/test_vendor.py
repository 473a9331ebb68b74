"""Vendored files are those that their authors published, with licence and notice."""

from __future__ import annotations

import hashlib
import json
import re

from crypto_pipeline_tests.builders.places import PROJECT

WEB = PROJECT / "crypto_pipeline" / "web"
VENDOR = WEB / "vendor"
MANIFEST = VENDOR / "manifest.json"


def test_each_vendored_file_has_the_checksum_of_its_manifest() -> None:
    packages = json.loads(MANIFEST.read_text())
    listed = {name: digest for package in packages for name, digest in package["files"].items()}
    there = {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path != MANIFEST
    }
    assert there == listed
    for package in packages:
        folder = VENDOR / f"{package['name']}-{package['version']}"
        assert (folder / "LICENSE").is_file()
        assert package["version"] in package["source"]


def test_the_page_shows_the_attribution_that_the_notice_asks_for() -> None:
    notice = (VENDOR / "lightweight-charts-5.2.1" / "NOTICE").read_text()
    owner = re.search(r"Copyright \(.\) (\d{4} TradingView, Inc\.) (https://\S+)", notice)
    assert owner is not None
    shown = (WEB / "js" / "chart" / "view.js").read_text()
    assert f"Copyright © {owner[1]}" in shown
    assert f'href: "{owner[2]}"' in shown
