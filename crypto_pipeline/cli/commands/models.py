"""``models``: trained models, which of them is in use, training, promotion and export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.command_groups import add_commands
from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.labels.strategies.registry import Strategy
    from crypto_pipeline.models.stored.promotion import PromotionOutcome
    from crypto_pipeline.models.stored.training_run import TrainingOutcome
    from crypto_pipeline.settings import Settings
    from crypto_pipeline.store import Store
    from crypto_pipeline.store.research.models.rows import ModelDecision

StrategyName = Annotated[str, typer.Argument(metavar="STRATEGY", help="dca, swing or channel")]
AnyStrategy = Annotated[str | None, typer.Argument(metavar="[STRATEGY]", help="Default: all of them.")]
ModelId = Annotated[str, typer.Argument(metavar="MODEL", help="Id of a model, or its first digits.")]
Force = Annotated[str | None, typer.Option("--force", metavar="MODEL", help="Put this model in use without a test.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why: it is stored with the decision.")]
Person = Annotated[str | None, typer.Option("--person", help="Who decides. Default: the user of this machine.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_commands(
        app, "models", "Models of setups: what was trained, which is in use, and why.", list=list_, show=show,
        train=train, promote=promote, rollback=rollback, export=export,
    )  # fmt: skip


def list_(strategy: AnyStrategy = None, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List models, the newest first. Their figures are out of fold: of rows the model that judged them had not seen."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import print_json, table
    from crypto_pipeline.models.stored.shown import shown_model

    chosen = None if strategy is None else str(_strategy(strategy))
    with open_store(deployment_settings(data_dir)) as store:
        rows = store.models.every(chosen)
        aliases = [row for name in {each.strategy for each in rows} for row in store.models.aliases(name).values()]
        now = store.clock.now()
        shown = [shown_model(row, aliases, now) for row in rows]
        runs = {name: store.models.newest_run(name) for name in _strategies(strategy)}
    if as_json:
        print_json(shown)
        return
    names = ["strategy", "model_id", "alias", "status", "created_at", "trained_until", "age_days"]
    figures = ["auc", "brier_skill", "ece", "expectancy", "trades"]
    cells = [
        [*(each[name] for name in names), *(_rounded(each["out_of_fold"][name]) for name in figures)] for each in shown
    ]
    table("", [*names, *(f"oof_{name}" for name in figures)], cells)
    for name, run in runs.items():
        if run is not None and run.status != "trained":
            typer.echo(f"{name}: the newest training: {_told(run.status, run.missing, run.sufficient_at, run.error)}")


def show(model: ModelId, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show one model: metrics out of fold and of its hold-out, importances, and every decision about it."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.models.stored.registry import Registry
    from crypto_pipeline.models.stored.shown import shown_decision, shown_model

    with open_store(deployment_settings(data_dir)) as store:
        row = store.models.find(model)
        loaded = Registry(store).load(row.model_id)
        aliases = list(store.models.aliases(row.strategy).values())
        shown = shown_model(row, aliases, store.clock.now()) | {
            "sha256": row.sha256,
            "holdout_from": row.holdout_from,
            "holdout_until": row.holdout_until,
            "break_even": dict(loaded.break_even),
            "versions": dict(loaded.versions),
            "metrics": row.metrics,
            "importances": dict(loaded.importances),
            "decisions": [
                shown_decision(each)
                for each in store.models.decisions(row.strategy)
                if row.model_id in (each.model_id, each.incumbent_id)
            ],
        }
    if as_json:
        print_json(shown)
        return
    _print_model(shown)


def train(
    strategy: AnyStrategy = None,
    again: Annotated[
        str | None,
        typer.Option("--again", metavar="MODEL", help="Train this model once more, and compare. Stores nothing."),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Train a model from the stored labels. It becomes the challenger; too little data is no error, and it says so."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import print_json, say
    from crypto_pipeline.labels.strategies.registry import Strategy
    from crypto_pipeline.models.stored.training_run import train_stored

    settings, outcomes = deployment_settings(data_dir), []
    with open_store(settings) as store:
        if again is not None:
            _train_again(store, settings, again)
            return
        for name in _strategies(strategy):
            made = train_stored(
                store,
                Strategy(name),
                settings,
                progress=lambda step, share, name=name: say(f"{name} {share:4.0%} {step}"),  # type: ignore[misc]
            )
            outcomes.append(made)
            if not as_json:
                typer.echo(_trained(made))
    if as_json:
        print_json([each.to_document() for each in outcomes])


def promote(
    strategy: StrategyName,
    force: Force = None,
    reason: Reason = None,
    person: Person = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Test the challenger on its hold-out, if that is due, and follow the result. Or put a model in use by --force."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.models.stored.promotion import decide_promotion
    from crypto_pipeline.models.stored.registry import Registry
    from crypto_pipeline.models.stored.shown import shown_decision

    chosen = _strategy(strategy)
    if (force is None) != (reason is None):
        raise BadInput("--force MODEL and --reason TEXT go together: the reason is stored with the decision")
    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        if force is not None:
            stored: ModelDecision | None = Registry(store).force(
                chosen, force, reason=reason or "", person=_person(person)
            )
            assert stored is not None
            said = f"{chosen}: model {stored.model_id} is in use, by {stored.decided_by}"
        else:
            outcome = decide_promotion(store, chosen, settings)
            said, stored = _decided(outcome), outcome.decision
    if as_json:
        print_json(None if stored is None else shown_decision(stored))
    else:
        typer.echo(said)


def rollback(
    strategy: StrategyName,
    reason: Annotated[str, typer.Option("--reason", help="Why: it is stored with the decision.")],
    person: Person = None,
    data_dir: DataDir = None,
) -> None:
    """Put the model that was in use before this one in use again."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.models.stored.registry import Registry

    chosen = _strategy(strategy)
    with open_store(deployment_settings(data_dir)) as store:
        decision = Registry(store).rollback(chosen, reason=reason, person=_person(person))
    typer.echo(f"{chosen}: model {decision.model_id} is in use again instead of {decision.incumbent_id}")


def export(
    model: ModelId,
    folder: Annotated[Path, typer.Argument(help="Folder to write: a new or an empty one.")],
    data_dir: DataDir = None,
) -> None:
    """Write a model as files that load with LightGBM alone."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.models.stored.export import export as write
    from crypto_pipeline.models.stored.registry import Registry

    with open_store(deployment_settings(data_dir)) as store:
        loaded = Registry(store).load(store.models.find(model).model_id)
    for path in write(loaded, folder):
        typer.echo(path)


def _train_again(store: Store, settings: Settings, name: str) -> None:
    """Say whether the manifest of a model gives the same model; exit code 1 where it does not."""
    from crypto_pipeline.models.stored.registry import Registry
    from crypto_pipeline.models.stored.training_run import reproduced

    model = Registry(store).load(store.models.find(name).model_id)
    found = reproduced(store, model, settings)
    if found.sha256 != model.sha256:
        same = "the same trees, other words about them" if found.text == model.text else "other trees"
        typer.echo(f"model {model.id} was made with {dict(model.versions)}; here it has {same} ({found.id})")
        raise typer.Exit(1)
    typer.echo(f"model {model.id}: the same again, byte for byte")


def _strategy(text: str) -> Strategy:
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.labels.strategies.registry import Strategy

    try:
        return Strategy.parse(text)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _strategies(text: str | None) -> list[str]:
    from crypto_pipeline.labels.strategies.registry import Strategy

    return [str(each) for each in Strategy] if text is None else [str(_strategy(text))]


def _person(given: str | None) -> str:
    import getpass

    return given or getpass.getuser()


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _trained(made: TrainingOutcome) -> str:
    if made.model_id is None:
        return f"{made.strategy}: {_told(made.status, made.missing, made.sufficient_at, None)}"
    what = "is the challenger" if not made.blocked_because else f"is blocked: {'; '.join(made.blocked_because)}"
    return f"{made.strategy}: model {made.model_id} of {made.events:,} events {what} ({made.seconds:.0f} s)"


def _told(status: str, missing: Any, sufficient_at: Any, error: str | None) -> str:
    if error is not None:
        return f"{status}: {error}"
    lacks = "; ".join(f"{each['have']:g} of {each['needed']:g} {each['what']}" for each in missing)
    when = f", enough about {sufficient_at:%Y-%m-%d} at the rate so far" if sufficient_at else ""
    return f"{status}: {lacks}{when}; no model was made"


def _decided(outcome: PromotionOutcome) -> str:
    words = {
        "promoted": "the challenger is in use",
        "kept": "the challenger is not taken",
        "not_due": "nothing is decided",
    }
    later = f" (next {outcome.next_at:%Y-%m-%d})" if outcome.next_at is not None else ""
    return f"{outcome.strategy}: {words[outcome.status]}: {outcome.because}{later}"


def _print_model(shown: dict[str, Any]) -> None:
    from crypto_pipeline.cli.output import table

    heads = (
        "strategy", "model_id", "alias", "status", "created_at", "trained_from", "trained_until", "age_days", "age",
        "holdout_from", "holdout_until", "sha256",
    )  # fmt: skip
    for name in heads:
        typer.echo(f"{name:14} {shown[name]}")
    for reason in shown["blocked_because"]:
        typer.echo(f"{'blocked':14} {reason}")
    metrics = shown["metrics"]
    parts = {"out of fold": metrics.get("out_of_fold"), "hold-out": metrics.get("holdout")}
    known = ["rows", "auc", "brier_skill", "log_loss", "ece", "trades", "expectancy", "win_rate"]
    table(
        "metrics",
        ["of", *known],
        [[of, *(_rounded(part.get(name)) for name in known)] for of, part in parts.items() if part],
    )
    gain = sorted(shown["importances"].get("gain", {}).items(), key=lambda each: -each[1])[:10]
    table("importances (share of gain)", ["input", "share"], [[name, _rounded(value)] for name, value in gain])
    decisions = [
        [
            each["decided_at"],
            each["kind"],
            each["promoted"],
            each["model_id"],
            each["reason"] or "; ".join(each["reasons"]),
        ]
        for each in shown["decisions"]
    ]
    table("decisions", ["decided_at", "kind", "promoted", "model_id", "because"], decisions)
