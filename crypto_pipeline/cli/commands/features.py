"""``features``: compute stale features, and verify stored features over a span."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated

import typer

from crypto_pipeline.cli.command_groups import add_commands
from crypto_pipeline.cli.option_groups import SpanOptions, with_groups
from crypto_pipeline.cli.options import AsJson, DataDir, Instruments

Only = Annotated[
    str | None, typer.Option("--check", metavar="LIST", help="For example no_leak,parity. Default: all checks.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_commands(app, "features", "Features: compute what is stale, verify what is stored.", build=build, verify=verify)


@with_groups
def build(
    span: SpanOptions, instruments: Instruments = None, as_json: AsJson = False, data_dir: DataDir = None
) -> None:
    """Compute features of days that lack them or whose bars have changed. A second run finds nothing to do."""
    from crypto_pipeline.cli import options
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.features.stored.update import bring_up_to_date

    settings = deployment_settings(data_dir)
    span.bounds()  # a bad one is refused before a database is looked for
    with open_store(settings) as store:
        first, last = span.until(store.clock.now(), timedelta(days=settings.history_days))
        known = [row.instrument.symbol for row in store.instruments.list()]
        symbols = options.known_symbols(instruments, known) or []
        report = bring_up_to_date(store, first, last, symbols, benchmark=settings.feature_benchmark)
    if as_json:
        said = {"stale_cells": report.stale_cells, "rows": report.rows, "benchmark": report.benchmark}
        typer.echo(json.dumps(said))
    else:
        typer.echo(f"{report.stale_cells:,} instrument-days computed, {report.rows:,} rows written")


@with_groups
def verify(span: SpanOptions, check: Only = None, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Run the checks of features over a span (default: the last 7 days). Exit code 1 when one fails."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.features.stored.checks import CHECKS, verify_features

    names = [name.strip() for name in check.split(",") if name.strip()] if check else list(CHECKS)
    if unknown := [name for name in names if name not in CHECKS]:
        raise BadInput(f"--check {unknown[0]!r} is no check of features: use some of {', '.join(CHECKS)}")
    span.bounds()  # a bad one is refused before a database is looked for
    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        first, last = span.until(store.clock.now(), timedelta(days=7))
        outcomes = verify_features(store, first, last, benchmark=settings.feature_benchmark, names=names)
    if as_json:
        rows = [
            {
                "check": one.name,
                "passed": one.passed,
                "severity": one.severity,
                "summary": one.summary,
                "offenders": one.offenders.head(100).rows(named=True),
            }
            for one in outcomes
        ]
        typer.echo(json.dumps(rows, default=str))
    else:
        for one in outcomes:
            typer.echo(f"{'passed' if one.passed else one.severity.upper():8} {one.name:12} {one.summary}")
            if not one.passed and one.offenders.height:
                typer.echo(str(one.offenders.head(20)))
    if not all(one.passed for one in outcomes):
        raise typer.Exit(1)
