"""``training-set``: features joined to labels as a Parquet file, with a manifest to reproduce it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crypto_pipeline.cli.options import DataDir, Instruments

if TYPE_CHECKING:
    from crypto_pipeline.labels.stored.training import TrainingSet
    from crypto_pipeline.labels.strategies.base import Parameters
    from crypto_pipeline.labels.strategies.registry import Strategy
    from crypto_pipeline.settings import Settings

StrategyName = Annotated[str, typer.Argument(help="dca, swing or channel")]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Parquet file to write; the manifest is written beside it.")
]
FirstSignal = Annotated[str, typer.Option("--start", help="First signal, ISO 8601: 2026-01-31 or 2026-01-31T12:00Z")]
EndOfSignals = Annotated[str, typer.Option("--end", help="First signal no longer included.")]
AsOf = Annotated[
    str | None, typer.Option("--as-of", help="Data as it was stored at that moment. Default: as it is now.")
]
ParameterSet = Annotated[str, typer.Option("--set", help="Name of a parameter set in the setting label_parameters.")]
Ineligible = Annotated[
    bool,
    typer.Option(
        "--ineligible",
        help="Keep signals whose last day lacks more than 5 % of its bars, or traded in fewer than half.",
    ),
]
AllowEmpty = Annotated[bool, typer.Option("--allow-empty", help="Write a file even if there are no rows.")]

group = typer.Typer(name="training-set", help="Features joined to labels, for training models.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(group)


@group.command()
def build(
    strategy: StrategyName,
    output: Output,
    start: FirstSignal,
    end: EndOfSignals,
    as_of: AsOf = None,
    parameter_set: ParameterSet = "default",
    instruments: Instruments = None,
    ineligible: Ineligible = False,
    allow_empty: AllowEmpty = False,
    data_dir: DataDir = None,
) -> None:
    """Write the training set of a strategy for signals in [start, end). Without rows: exit code 1, no file."""
    from crypto_pipeline.cli import options
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.healing.plan import retention_policy
    from crypto_pipeline.labels.stored.training import training_set

    first, last = options.bounds(start, end)
    assert first is not None  # both are required
    assert last is not None
    settings = deployment_settings(data_dir)
    chosen, parameters, default = _parameters(settings, strategy, parameter_set)
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
            parameters=parameters,
            default=default,
            instruments=symbols,
            eligible_only=not ineligible,
            retention=retention_policy(settings),
        )
    _write(made, output, allow_empty=allow_empty)


def _parameters(
    settings: Settings, strategy: str, parameter_set: str
) -> tuple[Strategy, Parameters, Parameters | None]:
    """The strategy called ``strategy``, its parameters in the set, and those of the set ``default`` whose events belong
    to it (to ``loose``). Raises BadInput that lists the known ones.
    """
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.labels.parameters import DEFAULT, LOOSE, ParameterError, parameter_sets
    from crypto_pipeline.labels.strategies.registry import Strategy

    try:
        chosen, sets = Strategy.parse(strategy), parameter_sets(settings.label_parameters)
    except (ParameterError, ValueError) as error:
        raise BadInput(str(error)) from None
    if parameter_set not in sets:
        raise BadInput(f"unknown parameter set {parameter_set!r}: there are {', '.join(sets)}")
    default = sets[DEFAULT][chosen] if parameter_set == LOOSE else None
    return chosen, sets[parameter_set][chosen], default


def _write(made: TrainingSet, output: Path, *, allow_empty: bool) -> None:
    """Write the set and its manifest. Raises TrainingSetError if there are no rows and ``allow_empty`` is False."""
    from crypto_pipeline.labels.stored.training import TrainingSetError

    if made.why_empty and not allow_empty:
        raise TrainingSetError(f"{made.why_empty}. Nothing was written; --allow-empty writes a file without rows")
    if made.why_empty:
        typer.echo(f"warning: {made.why_empty}", err=True)
    manifest = made.write(output)
    typer.echo(f"{made.frame.height:,} rows, {made.frame.width} columns, as of {made.manifest['as_of']}")
    typer.echo(f"{output}\n{manifest}")


@group.command()
def reproduce(
    manifest: Annotated[Path, typer.Argument(help="The manifest beside a training set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.")],
    data_dir: DataDir = None,
) -> None:
    """Make the training set of a manifest again. Fails unless the file is the same byte for byte."""
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
