"""The site as a whole: stage the pages, make the reference, run Zensical in its strict mode."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from docs_site import (
    command_reference,
    examples_page,
    http_reference,
    python_reference,
    settings_reference,
    sql_reference,
    stream_reference,
)
from docs_site.stage import PROJECT, stage


class SiteError(RuntimeError):
    """The site cannot be built; the message has what Zensical says."""


def build_site(output: Path, url: str) -> None:
    """Build the site into ``output``, which is replaced. ``url``: a migrated database, for the reference of SQL.

    Raises SiteError where a link or an anchor of a page leads nowhere.
    """
    with tempfile.TemporaryDirectory(prefix="docs-") as folder:
        work = Path(folder)
        pages = work / "docs"
        pages.mkdir()
        stage(pages)
        write_reference(pages / "reference", url)
        shutil.copyfile(PROJECT / "mkdocs.yml", work / "mkdocs.yml")
        _run_zensical(work)
        shutil.rmtree(output, ignore_errors=True)
        shutil.move(work / "site", output)


def write_reference(folder: Path, url: str) -> None:
    """Write the pages that are made from code over those that stand for them in the repository."""
    pages = {
        "examples": examples_page.page(),
        "python": python_reference.page(),
        "settings": settings_reference.page(),
        "commands": command_reference.page(),
        "http": http_reference.page(http_reference.document(url)),
        "sql": sql_reference.page(url),
        "stream": stream_reference.page(),
    }
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, "utf-8")


def _run_zensical(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SiteError(done.stdout + done.stderr)
