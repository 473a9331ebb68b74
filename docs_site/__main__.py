"""Build the site from the command line."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crypto_pipeline.store import EmbeddedServer
from crypto_pipeline.store.schema.migrations import migrate
from docs_site.build import build_site
from docs_site.links import broken_links
from docs_site.stage import PROJECT


@contextmanager
def _own_database() -> Iterator[str]:
    """URL of an empty migrated database on a server that lives as long as the block."""
    with tempfile.TemporaryDirectory(prefix="cp-docs-") as folder:
        server = EmbeddedServer(Path(folder))
        server.prepare()
        with server.running():
            url = server.url()
            migrate(url)
            yield url


def main() -> int:
    """Build, check all links, and return the exit code."""
    parser = argparse.ArgumentParser(description="Build the documentation as a site.")
    parser.add_argument("--output", type=Path, default=PROJECT / "site", help="folder of the site [site]")
    parser.add_argument("--database", help="URL of a migrated database [one is started]")
    chosen = parser.parse_args()
    if chosen.database:
        build_site(chosen.output, chosen.database)
    else:
        with _own_database() as url:
            build_site(chosen.output, url)
    broken = broken_links(chosen.output)
    print("\n".join(broken) or f"{chosen.output / 'index.html'}: all links lead somewhere")
    return 1 if broken else 0


sys.exit(main())
