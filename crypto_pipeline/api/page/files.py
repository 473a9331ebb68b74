"""The files of the live page, read once when the server starts and answered from memory.

Every file has an ETag of its content and must be asked for again (``no-cache``): after an upgrade a browser never
mixes old files with new ones. The page runs nothing that does not come from this server.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

#: Where the files lie, and the address below which they are answered.
FOLDER, BELOW = Path(__file__).parents[2] / "web", "/web/"
#: Only files of this server, no inline script or style, shown inside no other page.
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png",
    ".json": "application/json", ".webmanifest": "application/manifest+json",
}  # fmt: skip
#: The page, and what stands in it for the digest of all files, and for what names its modules: so that a browser asks
#: for all of them at once instead of one after the other.
_INDEX, _BUILD, _MODULES = "index.html", b"{{build}}", b"{{modules}}"
#: The one script that is no module.
_CLASSIC = "js/theme.js"
#: Shorter files are not worth compressing.
_WORTH_IT = 500


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file as it is sent. ``packed``: with gzip; None where that is not shorter."""

    data: bytes
    packed: bytes | None
    tag: str
    media_type: str

    def response(self, headers: Mapping[str, str]) -> Response:
        """The answer to a request with these headers: 304 where the client has this very file."""
        own = {"ETag": self.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding", **SECURITY}
        known = headers.get("if-none-match", "")
        if known.strip() == "*" or self.tag in known:
            return Response(status_code=304, headers=own)
        if self.packed is not None and "gzip" in headers.get("accept-encoding", ""):
            return Response(self.packed, 200, {**own, "Content-Encoding": "gzip"}, self.media_type)
        return Response(self.data, 200, own, self.media_type)


class PageFiles:
    """All files of a folder by their path inside of it, such as ``js/app.js``."""

    def __init__(self, folder: Path = FOLDER) -> None:
        found = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        #: Of all files together: a page that was loaded from other ones can find that out.
        self.build = _digest(b"".join(name.encode() + data for name, data in found.items()))
        if _INDEX in found:
            modules = "\n  ".join(
                _preload(name) for name in found if name.endswith((".js", ".mjs")) and name != _CLASSIC
            )
            found[_INDEX] = found[_INDEX].replace(_BUILD, self.build.encode()).replace(_MODULES, modules.encode())
        self.files = {name: _file(name, data) for name, data in found.items()}

    def response(self, name: str, headers: Mapping[str, str]) -> Response:
        """The answer to a request for a file. HTTPException 404: there is none of that name."""
        found = self.files.get(name)
        if found is None:
            raise HTTPException(404, f"the page has no file {name[:100]!r}")
        return found.response(headers)


def add_page_files(app: FastAPI, files: PageFiles) -> None:
    """Add ``GET /``, the page, and ``GET /web/…``, what it consists of."""

    async def index(request: Request) -> Response:
        return files.response(_INDEX, request.headers)

    async def file(request: Request) -> Response:
        return files.response(request.path_params["name"], request.headers)

    async def build(_: Request) -> Response:
        return Response(files.build, headers={"Cache-Control": "no-store", **SECURITY}, media_type="text/plain")

    methods = ["GET", "HEAD"]
    app.add_route("/", index, methods, include_in_schema=False)
    app.add_route(f"{BELOW}build", build, methods, include_in_schema=False)
    app.add_route(BELOW + "{name:path}", file, methods, include_in_schema=False)


def _file(name: str, data: bytes) -> PageFile:
    packed = gzip.compress(data, mtime=0) if len(data) >= _WORTH_IT else data
    shorter = packed if len(packed) < len(data) else None
    media_type = _TYPES.get(Path(name).suffix, "text/plain; charset=utf-8")
    return PageFile(data, shorter, f'"{_digest(data)}"', media_type)


def _is_module(name: str) -> bool:
    return name.endswith((".js", ".mjs")) and name != _CLASSIC


def _preload(name: str) -> str:
    return f'<link rel="modulepreload" href="{BELOW[1:]}{name}">'


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:20]
