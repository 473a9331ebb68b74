"""Which links of a built site, and of the repository's pages, lead nowhere."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """Links and anchors of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        #: Scripts, styles and pictures.
        self.parts: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in ("id", "name"):
                self.anchors.add(value)
            if value and (name == "src" or (name == "href" and tag == "link")):
                self.parts.add(value)
            if value and (name == "src" or (name == "href" and tag in ("a", "link"))):
                self.links.add(value)


@cache
def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text("utf-8"))
    return page


def broken_links(site: Path) -> list[str]:
    """One line for each link of a page to a file or an anchor that the site does not have.

    Addresses of other servers are not asked.
    """
    broken = []
    for path in sorted(site.rglob("*.html")):
        if path.name == "404.html":
            continue
        for link in sorted(_read(path).links):
            target = urlsplit(link)
            if target.scheme or target.netloc:
                continue
            file = (path.parent / unquote(target.path)).resolve() if target.path else path
            file = file / "index.html" if file.is_dir() else file
            known = file.is_file() and (
                not target.fragment or file.suffix != ".html" or unquote(target.fragment) in _read(file).anchors
            )
            if not known and target.fragment != "__skip":
                broken.append(f"{path.relative_to(site)}: {link}")
    _read.cache_clear()
    return broken


def foreign_parts(site: Path) -> list[str]:
    """One line for each script, style or picture that a page would load from another server."""
    pages = {path.relative_to(site): _read(path) for path in sorted(site.rglob("*.html"))}
    _read.cache_clear()
    return [f"{path}: {part}" for path, page in pages.items() for part in sorted(page.parts) if urlsplit(part).netloc]


def broken_in_repository(page: Path) -> list[str]:
    """One line for each relative link of a page of Markdown to a file that the repository does not have."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)", text)
    return [f"{page.name}: {link}" for link in links if not urlsplit(link).scheme and not (page.parent / link).exists()]
