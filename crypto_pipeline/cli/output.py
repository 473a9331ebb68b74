"""Output of commands: tables for people, JSON for programs, files of frames, progress."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console
    from rich.table import Table

    from crypto_pipeline.healing.reports import Progress

#: Greatest width of a table, in characters.
_WIDEST = 1000
#: The column that holds sentences.
_SENTENCE = "because"
#: It stands below its row where there is less room beside the row, in characters; and no wider than readable.
_SHORTEST_SENTENCE, _READABLE = 30, 120


def console(stderr: bool = False) -> Console:
    """A console for output to people, on stdout or stderr."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=not sys.stdout.isatty())


def say(text: str) -> None:
    """Print one line for people on stderr, which keeps stdout for the answer."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    json.dump(value, sys.stdout, indent=2, default=_plain)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table for people; numbers are right-aligned. On a narrow terminal reasons stand below their rows."""
    from rich.measure import Measurement

    out = console()
    sentence = list(columns).index(_SENTENCE) if _SENTENCE in columns else None
    shown = _table(title, columns, rows, range(len(columns)))
    # The full width is printed even on a narrow terminal, which wraps lines; rich would leave out whole columns.
    wide = out.options.update(max_width=_WIDEST)
    if sentence is None:
        out.width = max(out.width, Measurement.get(out, wide, shown).maximum)
        out.print(shown)
        return
    others = _table(title, columns, rows, [index for index in range(len(columns)) if index != sentence])
    needed = Measurement.get(out, wide, others).maximum
    if out.width >= needed + _SHORTEST_SENTENCE:
        out.print(shown)
        return
    reading_width, out.width = min(out.width, _READABLE), max(out.width, needed)
    with out.capture() as captured:
        out.print(others)
    lines = captured.get().splitlines()
    for line, row in zip(lines, [None] * (len(lines) - len(rows)) + list(rows), strict=True):
        typer.echo(line.rstrip())
        if row is not None and row[sentence]:
            typer.echo(textwrap.fill(str(row[sentence]), reading_width, initial_indent="  ", subsequent_indent="  "))


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], chosen: Sequence[int]) -> Table:
    """The columns numbered ``chosen`` as a table of rich."""
    from rich.table import Table

    shown = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index in chosen:
        numeric = bool(rows) and all(isinstance(row[index], int | float | type(None)) for row in rows)
        # Only the column of reasons may wrap: times, numbers and names are unreadable when they are split.
        wraps = columns[index] == _SENTENCE
        shown.add_column(columns[index], justify="right" if numeric else "left", no_wrap=not wraps)
    for row in rows:
        shown.add_row(*(_shown(row[index]) for index in chosen))
    return shown


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}Z"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value)


def frame_table(title: str, frame: pl.DataFrame) -> None:
    """Print a frame as a table for people."""
    table(title, frame.columns, frame.rows())


def print_frame_json(frame: pl.DataFrame) -> None:
    """Print a frame as a JSON list of rows."""
    print_json(frame.to_dicts())


def show_frame(frame: pl.DataFrame, as_json: bool, title: str) -> None:
    """Print a frame as a JSON list of rows, or as a table for people."""
    if as_json:
        print_frame_json(frame)
    else:
        frame_table(title, frame)


class HealingProgress:
    """Shows ``progress(stage, done, total)`` calls on stderr: bars in a terminal, otherwise a line now and then."""

    def __init__(self, quiet: bool = False) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._live = None
        self._tasks: dict[str, Any] = {}
        if not quiet and sys.stderr.isatty():
            columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._live = Progress(*columns, console=console(stderr=True), transient=False)

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self.update

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, stage: str, done: int, total: int) -> None:
        """Show one progress report."""
        if self._live is None:
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._live.add_task(stage, total=total)
        self._live.update(self._tasks[stage], completed=done, total=total)


def write_frame(frame: pl.DataFrame, form: str, output: Path | None, title: str) -> None:
    """Write a frame as table, csv, json, parquet or arrow to ``output``, or to stdout if that is None."""
    if output is None and form == "table":
        frame_table(title, frame)
        return
    target: Any = output if output is not None else sys.stdout.buffer
    match form:
        case "table":
            target.write_text(str(frame))
        case "csv":
            frame.write_csv(target, datetime_format="%Y-%m-%dT%H:%M:%SZ")
        case "json":
            _write_text(frame.to_dicts(), output)
        case "parquet":
            frame.write_parquet(target, compression="zstd")
        case "arrow":
            frame.write_ipc(target)
    if output is None:
        sys.stdout.flush()


def _write_text(rows: list[dict[str, Any]], output: Path | None) -> None:
    if output is None:
        print_json(rows)
    else:
        output.write_text(json.dumps(rows, indent=2, default=_plain) + "\n")
