"""A database URL for pickles: without its password, except for a process that ``multiprocessing`` starts.

Pickles are kept in files and queues, which must not contain a password (``multiprocessing`` treats its own key the same
way). The unpickling process gets the password if possible: the same process and its forks remember it, a process that
``multiprocessing`` starts receives it over a private pipe, and any other process takes it from
CRYPTO_PIPELINE_DATABASE_URL if that names the same database, or from PGPASSWORD or ~/.pgpass, which libpq reads.
"""

from __future__ import annotations

import multiprocessing.context
import os
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from crypto_pipeline.store.database.connect import plain_url
from crypto_pipeline.store.database.sessions.pooler import DIRECT_VARIABLE, DatabaseUrl

_VARIABLE = "CRYPTO_PIPELINE_DATABASE_URL"
#: URLs of this process by the same URL without its password.
_known: dict[str, str] = {}


def without_password(url: str) -> str:
    """``url`` without the password of ``user:password@`` and ``?password=``."""
    parts = urlsplit(plain_url(url))
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{parts.username}@{host}" if parts.username else host
    kept = [(name, value) for name, value in parse_qsl(parts.query, True) if name != "password"]
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(kept)))


class PortableUrl:
    """A URL that is pickled without its password; see the module's docstring."""

    def __init__(self, url: str) -> None:
        self.url = url
        _known[without_password(url)] = url
        if isinstance(url, DatabaseUrl):
            _known[without_password(url.direct)] = url.direct

    def __reduce__(self) -> tuple[type[PortableUrl], tuple[str]]:
        starting = multiprocessing.context.get_spawning_popen() is not None
        return (PortableUrl, (self.url,)) if starting else (_found, (_bare(self.url),))  # type: ignore[return-value]


def _bare(url: str) -> str:
    bare = without_password(url)
    return DatabaseUrl(bare, without_password(url.direct)) if isinstance(url, DatabaseUrl) else bare


def _found(bare: str) -> PortableUrl:
    url = _with_password(str(bare), _VARIABLE)
    if isinstance(bare, DatabaseUrl):
        url = DatabaseUrl(url, _with_password(bare.direct, DIRECT_VARIABLE))
    return PortableUrl(url)


def _with_password(bare: str, variable: str) -> str:
    """The URL that this process knows without its password as ``bare``."""
    if (known := _known.get(bare)) is not None:
        return str(known)
    own = os.environ.get(variable)
    return own if own and without_password(own) == bare else bare
