"""The page's modules: short, of one subject, told apart from HTML, and each imported by another one."""

from __future__ import annotations

import re
from pathlib import Path

from crypto_pipeline_tests.builders.places import PROJECT

WEB = PROJECT / "crypto_pipeline" / "web"
MODULES = sorted((WEB / "js").rglob("*.js"))
_IMPORT = re.compile(r'(?:from|import)\s+"(\.[^"]+)"')
#: What a page could be led astray with: text that becomes HTML or a program.
_FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\s*['\"](?:on|style)"
)


def name(path: Path) -> str:
    return path.relative_to(WEB).as_posix()


def test_modules_are_short() -> None:
    assert {name(path) for path in MODULES if len(path.read_text("utf-8").splitlines()) > 350} == set()


def test_text_of_a_server_never_becomes_html_or_a_program() -> None:
    assert {name(path): found[0] for path in MODULES if (found := _FORBIDDEN.search(path.read_text("utf-8")))} == {}


def test_every_module_is_used_and_every_import_exists() -> None:
    used = {WEB / "js" / "app.js", WEB / "js" / "theme.js"}
    for path in MODULES:
        for given in _IMPORT.findall(path.read_text("utf-8")):
            imported = (path.parent / given).resolve()
            assert imported.is_file(), f"{name(path)} imports {given}"
            used.add(imported)
    assert {name(path) for path in MODULES if path not in used} == set()
