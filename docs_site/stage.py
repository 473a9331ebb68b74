"""The folder from which the site is built: pages, pictures, and files of the repository that pages link to."""

from __future__ import annotations

import posixpath
import re
import shutil
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"
#: Pages that lie elsewhere in the repository, by their place on the site.
PAGES = {"measurements.md": "bench/RESULTS.md", "changelog.md": "CHANGELOG.md"}
#: Other files of the repository that are linked to are copied below this folder.
FILES = "files"
#: Pages of the repository for which the site has others.
_INSTEAD = {"README.md": "index.md", "examples/README.md": "reference/examples.md"}
_SHOWN = {".md", ".svg", ".png", ".json", ".css"}
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"^\s*(```|~~~)")


def stage(folder: Path) -> None:
    """Fill an empty ``folder`` with everything; pages that are made from code say here only where they are."""
    for path in sorted(DOCS.rglob("*")):
        if path.suffix in _SHOWN:
            _put(folder, path.relative_to(DOCS).as_posix(), path)
    for place, source in PAGES.items():
        _put(folder, place, PROJECT / source)


def _put(folder: Path, place: str, source: Path) -> None:
    target = folder / place
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".md":
        target.write_text(_with_links_of_the_site(folder, place, source), "utf-8")
    else:
        shutil.copyfile(source, target)


def _with_links_of_the_site(folder: Path, place: str, source: Path) -> str:
    """The page with links to the repository turned into links on the site."""

    def link(found: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", found[2]):
            return found[0]
        path = posixpath.normpath(posixpath.join(source.parent.relative_to(PROJECT).as_posix(), found[2]))
        there = posixpath.relpath(_on_site(folder, path), posixpath.dirname(place) or ".")
        return f"{found[1]}{there}{found[3] or ''}"

    inside, lines = False, []
    for line in source.read_text("utf-8").splitlines():
        inside ^= bool(_FENCE.match(line))
        lines.append(line if inside else _LINK.sub(link, line))
    return "\n".join(lines) + "\n"


def _on_site(folder: Path, path: str) -> str:
    """Where a file of the repository is on the site; one that is no page is copied."""
    for place, page in PAGES.items():
        if path == page:
            return place
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path in _INSTEAD:
        return _INSTEAD[path]
    source, target = PROJECT / path, folder / FILES / path
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return f"{FILES}/{path}"
