"""``backfill``, ``reconcile``, ``gaps`` and ``coverage``: missing bars, their reasons, and fetching them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.command_groups import add_group
from crypto_pipeline.cli.context import deployment_settings
from crypto_pipeline.cli.option_groups import SeriesOptions, with_groups
from crypto_pipeline.cli.options import AsJson, DataDir
from crypto_pipeline.cli.output import show_frame

if TYPE_CHECKING:
    import polars as pl

    from crypto_pipeline.healing import Deployment
    from crypto_pipeline.settings import Settings
    from crypto_pipeline.store import Store

Reread = Annotated[bool, typer.Option("--reread", help="Also request every 1m bar of the span again.")]
#: Columns of the ledger that people see beside the reason; `--json` prints all columns.
_IN_TABLE = ("gap_id", "instrument", "timeframe", "state", "start", "end", "bars", "attempts", "next_attempt")
#: At most this many spans that are still missing are listed.
_LINES = 10
States = Annotated[str | None, typer.Option("--state", metavar="LIST", help="For example lost,unfillable.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(backfill)
    app.command()(reconcile)
    app.command()(coverage)
    add_group(app, "gaps", gaps, list=gaps_list, reopen=gaps_reopen)


@with_groups
def backfill(bars: SeriesOptions, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Fetch missing bars of a span, store them, roll them up and explain the rest. A second run finds nothing to do.

    A named span or instrument is requested now; otherwise gaps wait for their next attempt. Exit code 1 while bars are
    missing.
    """
    from crypto_pipeline.healing.passes import HISTORY, NAMED

    chosen = bars.timeframes()
    settings = deployment_settings(data_dir)
    # An open end means the venue's current time, which may differ from this machine's.
    first, last = bars.bounds()

    def work(deployment: Deployment, symbols: list[str] | None, progress: Any) -> Awaitable[Any]:
        return deployment.backfill(first, last, symbols or (), chosen or (), progress, mode=NAMED if named else HISTORY)

    named = bool(bars.start or bars.end or bars.instruments)
    report = _heal(settings, bars, work)
    found = report.as_dict()
    columns = ["planned", "fetched", "inserted", "superseded", "unchanged", "explained", "still_missing"]
    rows = [[name, *(counts[column] for column in columns)] for name, counts in found["timeframes"].items()]
    for line in _missing(found, named):
        typer.echo(line, err=True)
    _finish(found, as_json, ["timeframe", *columns], rows, report.problems)
    if report.still_missing:
        raise typer.Exit(1)


def _missing(found: dict[str, Any], named: bool) -> list[str]:
    """Lines about bars that are still missing: the reason and the time of the next request."""
    if not found["still_missing"]:
        return []
    lines = [f"{found['still_missing']:,} bars are missing"]
    for row in found["waiting"][:_LINES]:
        when = "by the next pass" if row["next_attempt"] is None else f"after {row['next_attempt']}"
        lines.append(
            f"{row['instrument']} {row['timeframe']} {row['start']} to {row['end']}: {row['bars']:,} bars, "
            f"requested again {when}. {row['because'] or ''}"
        )
    if len(found["waiting"]) > _LINES:
        lines.append("`crypto-pipeline gaps` lists all of them")
    if found["waiting"] and not named:
        since, until = (edge(row[name] for row in found["waiting"]) for edge, name in ((min, "start"), (max, "end")))
        lines.append(f"`crypto-pipeline backfill --start {since} --end {until}` requests them now")
    return lines


@with_groups
def reconcile(bars: SeriesOptions, reread: Reread = False, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Compare stored bars with the venue's own over a span, fetch differing ones again, record lasting disputes."""
    chosen = bars.timeframes()
    settings = deployment_settings(data_dir)
    bars.bounds()  # a bad one is refused before a database is looked for

    async def work(deployment: Deployment, symbols: list[str] | None, progress: Any) -> Any:
        wanted = {} if chosen is None else {"timeframes": chosen}
        now, usual = await deployment.now(), timedelta(days=settings.reconcile_sample_days)
        first, last = bars.until(now, usual)
        return await deployment.reconcile(first, last, symbols or (), reread=reread, progress=progress, **wanted)

    report = _heal(settings, bars, work)
    found = report.as_dict()
    rows = [[name, count] for name, count in found["compared"].items()]
    columns = ["disagreed", "resolved", "disputed"]
    _finish(found, as_json, ["timeframe", "compared"], rows, report.problems)
    if not as_json:
        typer.echo(", ".join(f"{column} {found[column]:,}" for column in columns))
    if report.disputed:
        raise typer.Exit(1)


def _heal(settings: Settings, bars: SeriesOptions, work: Callable[..., Awaitable[Any]]) -> Any:
    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.cli.output import HealingProgress
    from crypto_pipeline.healing import Deployment

    with open_store(settings) as store:
        symbols = bars.symbols(_active(store))

        async def run() -> Any:
            async with Deployment.open(store, settings) as deployment:
                # The venue's names of newly added instruments are not known yet.
                await deployment.sync_new_instruments()
                with HealingProgress() as progress:
                    return await work(deployment, symbols, progress)

        return asyncio.run(run())


def _finish(
    found: dict[str, Any], as_json: bool, columns: list[str], rows: list[list[Any]], problems: dict[str, str]
) -> None:
    from crypto_pipeline.cli.output import print_json, table

    if as_json:
        print_json(found)
    elif found.get("nothing_to_do"):
        typer.echo("nothing to do: every expected bar is present or explained")
    else:
        table("", columns, rows)
    for instrument, problem in problems.items():
        typer.echo(f"{instrument}: {problem}", err=True)
    if problems:
        raise typer.Exit(1)


@with_groups
def coverage(bars: SeriesOptions, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Count bars per timeframe and instrument: expected, present, explained and missing."""
    import polars as pl

    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.market import Timeframe

    chosen = bars.timeframes() or list(Timeframe)
    first, last = bars.bounds()
    with open_store(deployment_settings(data_dir)) as store:
        symbols = bars.symbols(_active(store))
        cells = store.coverage.cells(chosen, first, last, symbols)
        of_venue = {row.instrument.symbol: row.instrument.venue for row in store.instruments.list(active_only=False)}
    counts = [pl.col(column).sum() for column in ("expected", "present", "explained")]
    lacking = (pl.col("expected") - pl.col("present") - pl.col("explained")).clip(lower_bound=0).sum().alias("missing")
    days = pl.col("day").min().alias("first_day"), pl.col("day").max().alias("last_day")
    venue = pl.col("instrument").replace_strict(of_venue, default=None, return_dtype=pl.String).alias("venue")
    frame = cells.group_by("timeframe", venue, "instrument").agg(*counts, lacking, *days)
    order = pl.col("timeframe").cast(pl.Enum([str(one) for one in Timeframe]))
    show_frame(frame.sort(order, "venue", "instrument"), as_json, "coverage")


@with_groups
def gaps(
    context: typer.Context, bars: SeriesOptions, state: States = None, as_json: AsJson = False, data_dir: DataDir = None
) -> None:
    """Show the ledger of absent bars and their reasons. Without a subcommand: a summary by cause."""
    if context.invoked_subcommand is not None:
        return
    frame = _open_gaps(bars, state, data_dir)
    if as_json:
        show_frame(frame, True, "")
    else:
        _summary(frame)


def _summary(frame: pl.DataFrame) -> None:
    """Print two lines for each cause, for a terminal of 80 columns."""
    from crypto_pipeline.cli.output import console
    from crypto_pipeline.market.gaps.groups import gap_groups

    out = console()
    out.width = min(out.width, 120)
    if frame.is_empty():
        out.print("no bar is absent")
        return
    for row in gap_groups(frame).iter_rows(named=True):
        names = row["instruments"]
        who = names[0] if len(names) == 1 else f"{len(names)} instruments, {names[0]} …"
        times = f"{row['start']:%Y-%m-%d %H:%M} – {row['end']:%Y-%m-%d %H:%M}Z"
        out.print(f"{row['state']:<12} {times}  {who}", markup=False, soft_wrap=False)
        again = f" Next request at {row['next_attempt']:%Y-%m-%d %H:%M}Z." if row["next_attempt"] else ""
        count = f"{row['bars']:,} bars of {', '.join(row['timeframes'])}"
        if row["gap_id"] is not None:
            count += f" (gap {row['gap_id']}" + (f" and {row['gaps'] - 1} more)" if row["gaps"] > 1 else ")")
        count += ". "
        out.print(_indented(f"{count}{row['because']}{again}", out.width), markup=False, soft_wrap=False)
    out.print("every row: `crypto-pipeline gaps list`", markup=False)


def _indented(text: str, width: int) -> str:
    import textwrap

    return textwrap.fill(text, width, initial_indent=" " * 13, subsequent_indent=" " * 13)


@with_groups
def gaps_list(bars: SeriesOptions, state: States = None, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List open rows of the ledger, those without a reason first: which bars are absent, since when, and why."""
    import polars as pl

    frame = _open_gaps(bars, state, data_dir)
    if not as_json:
        because = pl.col("evidence").str.json_path_match("$.because").alias("because")
        waiting = pl.col("state").is_in(["lost", "pending", "unproven", "unasked"])
        frame = frame.sort(~waiting, maintain_order=True).select(*_IN_TABLE, because)
    show_frame(frame, as_json, "open gaps")


def _open_gaps(bars: SeriesOptions, state: str | None, data_dir: Any) -> pl.DataFrame:
    import polars as pl

    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.market.timeframes import Timeframe
    from crypto_pipeline.reading.absent.unasked import UNASKED, with_unasked
    from crypto_pipeline.reading.stocks.closures import with_closures

    chosen = bars.timeframes()
    states = _states(state)
    first, last = bars.bounds()
    with open_store(deployment_settings(data_dir)) as store:
        symbols = bars.symbols(_active(store))
        frame = store.ledger.open(instruments=symbols, states=states, start=first, end=last)
        frame = with_closures(store, frame, symbols, None, states, first, last)
        if states is None or UNASKED in states:
            active = [row.instrument.symbol for row in store.instruments.list()]
            names = [one for one in active if symbols is None or one in symbols]
            frame = with_unasked(store, frame, names, chosen or list(Timeframe), (first, last))
    if chosen is not None:
        frame = frame.filter(pl.col("timeframe").cast(pl.String).is_in([str(one) for one in chosen]))
    return frame


def gaps_reopen(
    gap_id: Annotated[str, typer.Argument(metavar="ID", help="The row's id, from `gaps list`.")],
    note: Annotated[
        str, typer.Option("--note", help="The reason, for later readers of the ledger.")
    ] = "reopened by hand",
    data_dir: DataDir = None,
) -> None:
    """Reopen a gap, so that its bars are requested again. Also works for a gap that was given up."""
    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.market.timeframes import Timeframe

    if not gap_id.isdigit():
        raise BadInput(f"ID {gap_id!r} is not a number: `crypto-pipeline gaps list` shows the ids")
    with open_store(deployment_settings(data_dir)) as store:
        store.ledger.reopen(int(gap_id), note)
        row = store.ledger.row(int(gap_id))
        cells = store.coverage.cells([Timeframe(row["timeframe"])], row["start"], row["end"], [row["instrument"]])
        archived = bool((cells["archived"] > 0).any())
    when = "its days are archived, so no pass requests it by itself" if archived else "the next pass requests it"
    span = f"--start {row['start']:%Y-%m-%dT%H:%M:%SZ} --end {row['end']:%Y-%m-%dT%H:%M:%SZ}"
    typer.echo(
        f"gap {gap_id} is open again: {when}; "
        f"`crypto-pipeline backfill {span} --instruments {row['instrument']}` requests it now"
    )


def _states(text: str | None) -> list[str] | None:
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.market.gaps.classification import GapState
    from crypto_pipeline.reading.absent.unasked import UNASKED
    from crypto_pipeline.reading.stocks.closures import CLOSED

    every = (*GapState, CLOSED, UNASKED)
    if text is None:
        return None
    states = [part.strip() for part in text.split(",") if part.strip()]
    for state in states:
        if state not in every:
            raise BadInput(f"unknown state {state!r}: use one of {', '.join(every)}")
    return states


def _active(store: Store) -> list[str]:
    return [row.instrument.symbol for row in store.instruments.list(active_only=False)]
