"""Pieces of Markdown: tables, headings with an anchor, docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a cell may hold Markdown, and line ends in it become spaces."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """One line, with vertical bars that are no borders: in code they are none anyway."""
    pieces = " ".join(text.split()).split("`")
    return "`".join(piece if number % 2 else piece.replace("|", "\\|") for number, piece in enumerate(pieces))


def heading(level: int, text: str, anchor: str) -> str:
    """A heading that is reached by ``#anchor``."""
    return f"{'#' * level} {text} {{#{anchor}}}\n"


def code(text: str, language: str = "") -> str:
    """A block of code."""
    return f"```{language}\n{text}\n```\n"


def prose(docstring: str | None) -> str:
    """A docstring as Markdown: names in double backticks get single ones, sessions of Python become code."""
    text = inspect.cleandoc(docstring or "").replace("``", "`")
    blocks = []
    for block in text.split("\n\n"):
        if block.lstrip().startswith(">>>"):
            blocks.append(code(re.sub(r"\s*# doctest:.*", "", block), "python"))
        elif re.match(r"    +\S", block):
            blocks.append(code(inspect.cleandoc(block), ""))
        else:
            blocks.append(block)
    return "\n\n".join(blocks) + "\n"


def as_anchor(*words: str) -> str:
    """An anchor of names: letters, digits, hyphens, dots and underscores."""
    return re.sub(r"[^\w.]+", "-", "-".join(words)).strip("-").lower()
