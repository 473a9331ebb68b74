"""``training-set``: features joined to labels as a Parquet file, with a manifest that gives it again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crypto_pipeline.cli.options import DataDir, Instruments

group = typer.Typer(name="training-set", help="Features joined to labels, to learn from.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(group)


@group.command()
def build(
    strategy: Annotated[str, typer.Argument(help="dca, swing or channel")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write; the manifest lies beside it.")],
    start: Annotated[str, typer.Option("--start", help="First signal, ISO 8601: 2026-01-31 or 2026-01-31T12:00Z")],
    end: Annotated[str, typer.Option("--end", help="First signal no longer included.")],
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="As it was known at that moment. Default: as it is known now.")
    ] = None,
    parameter_set: Annotated[str, typer.Option("--set", help="Which set of the setting label_parameters.")] = "default",
    instruments: Instruments = None,
    ineligible: Annotated[
        bool,
        typer.Option(
            "--ineligible",
            help="Keep signals whose last day lacks more than 5 % of its bars, or traded in fewer than half.",
        ),
    ] = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Where there are no rows, write a file all the same.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Write the training set of a strategy for signals in [start, end). Without rows: exit code 1, no file."""
    from crypto_pipeline.cli import options
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.healing.plan import retention_policy
    from crypto_pipeline.labels.parameters import ParameterError, parameter_sets
    from crypto_pipeline.labels.stored.training import TrainingSetError, training_set
    from crypto_pipeline.labels.strategies.registry import Strategy

    first, last = options.bounds(start, end)
    assert first is not None  # both are required
    assert last is not None
    settings = deployment_settings(data_dir)
    try:
        chosen, sets = Strategy.parse(strategy), parameter_sets(settings.label_parameters)
    except (ParameterError, ValueError) as error:
        raise BadInput(str(error)) from None
    if parameter_set not in sets:
        raise BadInput(f"unknown parameter set {parameter_set!r}: there are {', '.join(sets)}")
    moment = options.moment(as_of, "--as-of") if as_of else None
    with open_store(settings) as store:
        known = [row.instrument.symbol for row in store.instruments.list(active_only=False)]
        symbols = options.known_symbols(instruments, known)
        made = training_set(
            store,
            chosen,
            first,
            last,
            as_of=moment,
            parameters=sets[parameter_set][chosen],
            instruments=symbols,
            eligible_only=not ineligible,
            retention=retention_policy(settings),
        )
    if made.why_empty and not allow_empty:
        raise TrainingSetError(f"{made.why_empty}. Nothing was written; --allow-empty writes a file without rows")
    if made.why_empty:
        typer.echo(f"warning: {made.why_empty}", err=True)
    beside = made.write(output)
    typer.echo(f"{made.frame.height:,} rows, {made.frame.width} columns, as of {made.manifest['as_of']}")
    typer.echo(f"{output}\n{beside}")


@group.command()
def reproduce(
    manifest: Annotated[Path, typer.Argument(help="The manifest that lies beside a training set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.")],
    data_dir: DataDir = None,
) -> None:
    """Make the training set of a manifest again; fails unless it is the same, byte for byte."""
    import hashlib
    import json

    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.healing.plan import retention_policy
    from crypto_pipeline.labels.stored.training import TrainingSetError
    from crypto_pipeline.labels.stored.training import reproduce as again

    try:
        stated = json.loads(manifest.read_text())
        wanted = stated["parquet_sha256"]
    except (json.JSONDecodeError, KeyError) as error:
        raise BadInput(f"{manifest} is no manifest of a training set: {error!r}") from None
    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        made = again(store, stated, retention=retention_policy(settings))
    made.write(output)
    found = hashlib.sha256(output.read_bytes()).hexdigest()
    if found != wanted:
        raise TrainingSetError(
            f"{output} has the same {made.frame.height} rows, but another Parquet file than {manifest} says: "
            f"it was written by {stated['made_by']}"
        )
    typer.echo(f"{made.frame.height:,} rows, the same file byte for byte: {output}")
