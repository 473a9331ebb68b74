"""``macro``: macro series, their vintages, and their collection."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.command_groups import add_commands
from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.settings import Settings
    from crypto_pipeline.store import Store
    from crypto_pipeline.store.macro.reads import MacroRow

_FORMS = ("table", "csv", "json", "parquet", "arrow")

Series = Annotated[str, typer.Argument(help="A name or an id of FRED: CPI or CPIAUCSL")]
ChosenSeries = Annotated[list[str] | None, typer.Argument(metavar="[SERIES…]", help="Default: every collected one.")]
Start = Annotated[str | None, typer.Option("--start", help="First period: it begins on this day or later.")]
End = Annotated[str | None, typer.Option("--end", help="First period no longer included.")]
AsOf = Annotated[
    str | None, typer.Option("--as-of", help="Only values that were public at that moment: 2026-01-31T12:00Z")
]
PrintsName = Annotated[str, typer.Option("--prints", help="latest, first or all values of each period.")]
Full = Annotated[bool, typer.Option("--full", help="Fetch every vintage again, also of series that did not change.")]
Form = Annotated[str, typer.Option("--format", help=f"{', '.join(_FORMS)}.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write. Default: the terminal.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_commands(
        app, "macro", "Macro series: GDP, CPI and others, with every vintage.", list=list_, show=show, sync=sync
    )


def list_(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Collected macro series: stored periods and vintages, and the day of the next release."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import print_json, table

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        _require_series(store, settings)
        rows = _listed(store)
    if as_json:
        print_json(rows)
        return
    shown = ["name", "series_id", "frequency", "periods", "newest_period", "newest_vintage", "next_release", "because"]
    table("", shown, [[row[column] for column in shown] for row in rows])


def show(
    series: Series,
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    prints: PrintsName = "latest",
    form: Form = "table",
    output: Output = None,
    data_dir: DataDir = None,
) -> None:
    """Observations of a macro series, by period and vintage. --as-of leaves out values that were not public then."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.cli.output import write_frame
    from crypto_pipeline.reading.series.macro import read_macro
    from crypto_pipeline.store.database.errors import UnknownNameError

    if form not in _FORMS:
        raise BadInput(f"unknown format {form!r}: use one of {', '.join(_FORMS)}")
    with open_store(deployment_settings(data_dir)) as store:
        try:
            frame = read_macro(store, series, start, end, as_of=as_of, prints=prints)
        except (ValueError, UnknownNameError) as error:
            raise BadInput(str(error)) from None
    write_frame(frame, form, output, series)


def sync(series: ChosenSeries = None, full: Full = False, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Ask the source for macro series now. Exit code 1 when one of them could not be brought up to date."""
    import asyncio

    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import FAILED
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.healing.macro.sync import sync_macro

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        _require_series(store, settings)
        report = asyncio.run(sync_macro(store, settings, _chosen(store, series), full=full))
    if as_json:
        print_json(report.rows())
    else:
        for one in report.outcomes:
            counts = f"{one.added} new, {one.changed} changed" if one.status == "stored" else one.status
            typer.echo(f"{one.series}: {counts}" + (f"; {one.problem}" if one.problem else ""))
    if settings.fred_api_key is None and settings.macro_source == "fred":
        typer.echo(
            "note: without a key only the newest values are read, without vintages: get a key at "
            "https://fredaccount.stlouisfed.org/apikeys and set CRYPTO_PIPELINE_FRED_API_KEY",
            err=True,
        )
    if report.problems:
        raise typer.Exit(FAILED)


def _require_series(store: Store, settings: Settings) -> None:
    """Mark the series of the settings as collected. Raises BadInput where there are none."""
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.market.macro.series import choose_series

    chosen = choose_series(settings.macro_series)
    if not chosen:
        raise BadInput(
            "no macro series is collected: start with `crypto-pipeline up --with-macro`, or set "
            "CRYPTO_PIPELINE_MACRO_SERIES to 'default' or to names and ids of FRED such as CPI,DGS10"
        )
    store.macro.choose(chosen)


def _chosen(store: Store, names: list[str] | None) -> list[MacroRow]:
    """The collected series with these names, all where none is given. Raises BadInput for another."""
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.market.near_names import did_you_mean, near_names

    rows = store.macro.series()
    if not names:
        return rows
    known = {name: row for row in rows for name in (row.name, row.series_id)}
    for name in names:
        if name.upper() not in known:
            hint = did_you_mean(near_names(name, known)) or f"there are {', '.join(row.name for row in rows)}"
            raise BadInput(
                f"macro series {name!r} is not collected: {hint}; CRYPTO_PIPELINE_MACRO_SERIES says which are"
            )
    return [known[name.upper()] for name in names]


def _listed(store: Store) -> list[dict[str, Any]]:
    from crypto_pipeline.healing.macro.due import expected_release

    counted = {row["name"]: row for row in store.macro.summary().to_dicts()}
    found = []
    for row in store.macro.series():
        release = expected_release(store, row)
        found.append(
            {
                "series_id": row.series_id,
                "title": row.title,
                "units": row.units,
                "frequency": row.frequency,
                **counted[row.name],
                "has_vintages": row.has_vintages,
                "next_release": release.day if release is not None else None,
                "looked_at": row.looked_at,
                "next_attempt": row.next_attempt,
                "because": row.problem or _without_vintages(row.has_vintages, row.collected_at),
            }
        )
    return found


def _without_vintages(has_vintages: bool | None, collected_at: datetime | None) -> str:
    if collected_at is None:
        return "not collected yet"
    return "" if has_vintages else "without vintages"
