"""Training sets: features joined to labels by signal, as known at a moment, with a manifest to make them again.

The labels are read as they stood at ``as_of``, and the features are computed from the bars as they stood then, by the
function that computes them live. So a set does not change when bars or labels are revised later, and its manifest gives
it again byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from crypto_pipeline.features.compute import LOOK_BACK, NAMES, ROW_SCHEMA, feature_frames, schema_hash
from crypto_pipeline.features.stored.update import Universe, read_bars
from crypto_pipeline.healing.plan import retention_policy
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.stored.emptiness import why_empty
from crypto_pipeline.labels.stored.removed_bars import require_kept
from crypto_pipeline.labels.stored.signals import Signals
from crypto_pipeline.labels.stored.weighted import weighted_labels
from crypto_pipeline.labels.strategies.base import Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.retention import RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe, parse_time, require_utc
from crypto_pipeline.reading.display.progress import Steps, no_steps
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store, StoreError

FORMAT = 2
#: Of the label, in this order before the features.
_LABEL_COLUMNS = (
    "instrument",
    "signal_ts",
    "available_at",
    "entry_ts",
    "label_end_ts",
    "y",
    "weight",
    "uniqueness",
    "market_uniqueness",
    "is_default",
    "outcome",
    "outcome_class",
    "gross_return",
    "net_return",
    "mae",
    "mfe",
    "bars_to_touch",
    "ambiguous",
    "tier",
)
_STATES = ("eligible", "regime", "stress")
EMBARGO = timedelta(days=1)


class EmptyTrainingSetWarning(UserWarning):
    """A training set has no rows; the message says why, and what a person can do about it."""


class TrainingSetError(ValueError):
    """A training set cannot be made or made again; the message says what differs and what to do."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """``frame``: one row per label, sorted by signal and instrument; ``manifest``: all that is needed to make it again.

    ``why_empty`` says why there are no rows, and what to do; None where there are some.
    """

    frame: pl.DataFrame
    manifest: dict[str, Any]
    why_empty: str | None = None

    def write(self, path: Path) -> Path:
        """Write the frame as Parquet, the manifest beside it (``NAME.manifest.json``); returns the manifest's path."""
        self.frame.write_parquet(path, compression="zstd", compression_level=3, statistics=True)
        manifest = {**self.manifest, "parquet_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        beside = manifest_path(path)
        beside.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        return beside


def manifest_path(parquet: Path) -> Path:
    """Where the manifest of a Parquet file lies."""
    return parquet.with_name(f"{parquet.stem}.manifest.json")


def training_set(
    store: Store,
    strategy: Strategy | str,
    start: datetime,
    end: datetime,
    *,
    as_of: datetime | None = None,
    parameters: Parameters | None = None,
    default: Parameters | None = None,
    instruments: Sequence[str] | None = None,
    eligible_only: bool = True,
    universe: Universe | None = None,
    retention: RetentionPolicy | None = None,
    report: Steps = no_steps,
) -> TrainingSet:
    """Labels of signals in ``[start, end)`` with their features, as known at ``as_of`` (default: now).

    Columns: ``instrument``, ``signal_ts`` (open of the signal bar), ``available_at`` (its close: when features and
    signal were known), ``entry_ts`` and ``label_end_ts`` (for purging), ``y`` (net return above 0), ``weight``
    (``market_uniqueness``, scaled to mean 1 over the rows), ``uniqueness``, ``market_uniqueness``, ``is_default``, the
    outcome, the setup's measures as ``setup_…``, then ``eligible``, ``regime``, ``stress`` and every feature.
    ``eligible_only`` leaves out signals of which more than 5 % of the last day's bars were missing or fewer than half
    of them traded.
    ``parameters``: default those of the set ``default``. ``default``: the parameters that are traded; their labels are
    rows too, marked ``is_default``, and count before those of ``parameters`` at the same signal. None: the labels of
    ``parameters`` alone, all of them marked. ``universe``: whose bars decide ranks and breadth. ``retention``: what is
    kept (default: by the settings). ``report`` takes the instruments that are done. A set without rows says why
    (``why_empty``).

    Raises StoreError for an unknown instrument, an ``as_of`` to come, or when bars that it needs have been removed;
    ValueError for a naive time or a bad strategy.
    """
    chosen, (begin, until) = Strategy.parse(strategy), _span(start, end)
    used = _parameters(chosen, parameters)
    judged = used if default is None else _parameters(chosen, default)
    moment = store.labels.settle(as_of)
    labels = weighted_labels(store, chosen, used, judged, begin, until, moment, instruments)
    everyone = universe or Universe.from_store(store, load_settings().feature_benchmark)
    _require_kept(store, labels, used, judged, everyone.benchmark, retention)
    joined = _joined(chosen, labels, _features(store, labels, everyone, begin, until, moment, report))
    frame = _weighted(joined.filter("eligible") if eligible_only else joined)
    manifest = _manifest(chosen, used, begin, until, moment, frame) | {
        "instruments": sorted(instruments) if instruments is not None else None,
        "eligible_only": eligible_only,
        "universe": {"instruments": everyone.instruments, "benchmark": everyone.benchmark},
        "default_parameters": default and judged.model_dump(mode="json"),
        "default_parameters_hash": default and judged.hash,
        "data_versions_when_made": _versions(store, chosen, [used.hash, judged.hash], begin, until),
        "labels": labels.height,
        "ineligible": joined.height - joined["eligible"].sum(),
    }
    if frame.height:
        return TrainingSet(frame, manifest)
    signals = Signals(chosen, used, begin, until, store.clock.now())
    reason = why_empty(store, signals, instruments=instruments, benchmark=everyone.benchmark, ineligible=joined.height)
    return TrainingSet(frame, manifest, reason)


def reproduce(store: Store, manifest: Mapping[str, Any], *, retention: RetentionPolicy | None = None) -> TrainingSet:
    """The training set of a manifest again. Raises TrainingSetError naming what differs where it is another, StoreError
    when bars that it needs have been removed.
    """
    if manifest.get("format") != FORMAT:
        raise TrainingSetError(f"manifest of format {manifest.get('format')!r}: this version reads {FORMAT}")
    if manifest["feature_schema_hash"] != schema_hash():
        raise TrainingSetError(
            f"made with features {manifest['feature_schema_hash']}, this version has {schema_hash()}: install "
            f"crypto-pipeline {manifest['made_by']['crypto-pipeline']}"
        )
    strategy = Strategy.parse(manifest["strategy"])
    parameters = _stated_parameters(strategy, manifest, "parameters")
    beside = manifest["default_parameters"] is not None
    default = _stated_parameters(strategy, manifest, "default_parameters") if beside else None
    again = training_set(
        store,
        strategy,
        parse_time(manifest["start"]),
        parse_time(manifest["end"]),
        as_of=parse_time(manifest["as_of"]),
        parameters=parameters,
        default=default,
        instruments=manifest["instruments"],
        eligible_only=manifest["eligible_only"],
        universe=Universe(manifest["universe"]["instruments"], manifest["universe"]["benchmark"]),
        retention=retention,
    )
    if again.manifest["content_sha256"] != manifest["content_sha256"]:
        raise TrainingSetError(
            f"it has {again.frame.height} rows and the hash {again.manifest['content_sha256'][:16]}, the manifest says "
            f"{manifest['rows']} and {manifest['content_sha256'][:16]}: bars or labels of that time are no longer "
            f"kept, or it was made with another version ({manifest['made_by']})"
        )
    return TrainingSet(again.frame, {**manifest, "content_sha256": again.manifest["content_sha256"]})


def _stated_parameters(strategy: Strategy, manifest: Mapping[str, Any], key: str) -> Parameters:
    """Parameters of a manifest; TrainingSetError where this version computes other labels with them."""
    parameters = strategy.definition.parameters.model_validate(manifest[key])
    if parameters.hash != manifest[f"{key}_hash"]:
        raise TrainingSetError(
            f"the {key} of the manifest have the hash {parameters.hash}, not {manifest[f'{key}_hash']}: it was "
            "changed, or labels are computed differently by this version"
        )
    return parameters


def purged(
    frame: pl.DataFrame, test_start: datetime, test_end: datetime, embargo: timedelta = EMBARGO
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Train and test rows of one fold: test has the signals known in ``[test_start, test_end)``.

    Train has what was known before whose label had ended before the test began, and what comes ``embargo`` after the
    last label of the test has ended. Walk-forward uses only the rows before: filter on ``available_at < test_start``.
    """
    begin, until = require_utc(test_start), require_utc(test_end)
    inside = pl.col("available_at").is_between(begin, until, closed="left")
    test = frame.filter(inside)
    last = test["label_end_ts"].max()
    after = max(until, last) if isinstance(last, datetime) else until
    train = frame.filter((pl.col("label_end_ts") < begin) | (pl.col("available_at") >= after + embargo))
    return train, test


def content_hash(frame: pl.DataFrame) -> str:
    """SHA-256 of the values, names and types of a frame, however it is stored."""
    digest = hashlib.sha256(json.dumps({name: str(dtype) for name, dtype in frame.schema.items()}).encode())
    for column in frame.get_columns():
        digest.update(column.is_null().to_numpy().tobytes())
        if column.dtype == pl.String:
            digest.update("\x00".join(column.fill_null("").to_list()).encode())
        else:
            physical = column.to_physical()
            digest.update(physical.fill_null(False if physical.dtype == pl.Boolean else 0).to_numpy().tobytes())
    return digest.hexdigest()


def _span(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    begin, until = require_utc(start), require_utc(end)
    if begin >= until:
        raise TrainingSetError(f"start {begin.isoformat()} is not before end {until.isoformat()}: exchange them")
    return begin, until


def _parameters(strategy: Strategy, given: Parameters | None) -> Parameters:
    """The parameters that are given, or those of the set ``default``."""
    used = given or parameter_sets({})["default"][strategy]
    model = strategy.definition.parameters
    if not isinstance(used, model):
        raise TrainingSetError(f"{type(used).__name__} are no parameters of {strategy}: use {model.__name__}")
    return used


def _require_kept(
    store: Store,
    labels: pl.DataFrame,
    parameters: Parameters,
    default: Parameters,
    benchmark: str | None,
    retention: RetentionPolicy | None,
) -> None:
    """Raise StoreError when bars are gone from which features are computed; each set looks as far back as it says."""
    policy, now = retention or retention_policy(load_settings()), store.clock.now()
    require_kept(store, labels.filter("is_default"), default, benchmark, policy, now)
    require_kept(store, labels.filter(~pl.col("is_default")), parameters, benchmark, policy, now)


def _manifest(
    strategy: Strategy, parameters: Parameters, start: datetime, end: datetime, as_of: datetime, frame: pl.DataFrame
) -> dict[str, Any]:
    """Span, parameters, hashes and versions of a set. The caller adds which rows were chosen."""
    return {
        "format": FORMAT,
        "strategy": str(strategy),
        "start": start.isoformat(),
        "end": end.isoformat(),
        "as_of": as_of.isoformat(),
        "parameters": parameters.model_dump(mode="json"),
        "parameters_hash": parameters.hash,
        "feature_schema_hash": schema_hash(),
        "rows": frame.height,
        "columns": {name: str(dtype) for name, dtype in frame.schema.items()},
        "content_sha256": content_hash(frame),
        "made_by": {"crypto-pipeline": version("crypto-pipeline"), "polars": pl.__version__},
    }


def _features(
    store: Store,
    labels: pl.DataFrame,
    universe: Universe,
    start: datetime,
    end: datetime,
    as_of: datetime,
    report: Steps,
) -> pl.DataFrame:
    """Features of the signal bars only, computed from the bars as they were known."""
    names = labels["instrument"].unique().sort().to_list()
    if not names:
        return pl.DataFrame(schema=ROW_SCHEMA)
    bars = read_bars(store, universe, names, start.astimezone(UTC).date(), end, as_of=as_of)
    signals = labels.select("instrument", open_time="signal_ts")

    def wanted() -> Iterator[pl.DataFrame]:
        for number, rows in enumerate(feature_frames(bars, start, end, universe.benchmark, names), 1):
            report(number, len(names))
            yield rows.join(signals, on=["instrument", "open_time"], how="semi")

    return pl.concat(list(wanted()))


def _joined(strategy: Strategy, labels: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    measures = {name: f"setup_{name}" for name in strategy.definition.table.measures}
    renamed = labels.rename(measures).with_columns(
        (pl.col("net_return") > 0).cast(pl.Int8).alias("y"), pl.col("market_uniqueness").alias("weight")
    )
    joined = renamed.join(
        features, left_on=["instrument", "signal_ts"], right_on=["instrument", "open_time"], how="left"
    )
    if joined["available_at"].null_count():
        instrument, signal = joined.filter(pl.col("available_at").is_null()).row(0)[:2]
        raise StoreError(f"the bar of the signal of {instrument} at {signal} is no longer there: label it again")
    return joined.select(*_LABEL_COLUMNS, *measures.values(), *_STATES, *NAMES, label_data_version="data_version").sort(
        "signal_ts", "instrument"
    )


def _weighted(frame: pl.DataFrame) -> pl.DataFrame:
    """The weights scaled to mean 1. Summed exactly, so that no processor gives another last bit."""
    if frame.is_empty():
        return frame
    mean = math.fsum(frame["weight"].to_list()) / frame.height
    return frame.with_columns(pl.col("weight") / mean)


def _versions(
    store: Store, strategy: Strategy, hashes: Sequence[str], start: datetime, end: datetime
) -> dict[str, str]:
    """Data versions of bars and labels as they are now. If they are equal later, nothing has changed."""
    shown = {
        str(timeframe): store.coverage.version(timeframe, start - timedelta(days=days), end)
        for timeframe, days in LOOK_BACK.items()
    }
    shown[str(Timeframe.M1)] = store.coverage.version(Timeframe.M1, start, end)
    return shown | {"labels": store.labels.version(strategy, hashes, start, end)}
