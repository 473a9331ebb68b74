"""Checks whose results are stored by runs of Dagster and by sensors: their names, and how long a result is valid.

Their promises are stated here for people; a test compares the names with Dagster's definitions. The modules that
compute them are not imported: this registry must load in a small program.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from importlib.util import find_spec

from crypto_pipeline.market.severity import Severity
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.checks.definition import CheckDefinition
from crypto_pipeline.ops.checks.states import Category

_HOURLY, _SIX_HOURS, _NIGHTLY = timedelta(hours=3), timedelta(hours=13), timedelta(hours=54)
_TIMEFRAMES = tuple(str(timeframe) for timeframe in Timeframe)
_DATA: Category = "data_pipeline"


def _stored(
    name: str, category: Category, promise: str, valid_for: timedelta, severity: Severity = "error", **more: object
) -> CheckDefinition:
    return CheckDefinition(name, category, promise, severity, valid_for=valid_for, requires=("database",), **more)  # type: ignore[arg-type]


_bars = partial(_stored, subjects=_TIMEFRAMES)

BARS = (
    _bars("accounted_for", _DATA, "Every expected bar is present or explained by the ledger.", _SIX_HOURS),
    _bars("ohlc_sanity", "edge_cases", "No bar is impossible.", _SIX_HOURS),
    _bars("rollup_conservation", _DATA, "Rolled-up bars hold exactly the volume of the bars below them.", _SIX_HOURS),
    _bars("venue_agreement", _DATA, "Our bars equal the venue's own.", _SIX_HOURS),
    _bars("no_future_bars", "edge_cases", "No bar is complete before its window is over.", _SIX_HOURS),
    _bars("freshness", _DATA, "The newest bar of every instrument is as new as it should be.", _HOURLY),
    _stored("silence_is_plausible", "edge_cases", "No silence is longer than habits explain.", _SIX_HOURS, "warning",
            subjects=("1m",)),
    _stored("connection", _DATA, "The venue answers.", _HOURLY),
)  # fmt: skip
FEATURES = (
    _stored("no_leak", _DATA, "No row of features knows what came later.", _NIGHTLY, "critical"),
    _stored("warm_up", _DATA, "No feature needs more bars than it declares.", _NIGHTLY),
    _stored("parity", _DATA, "Live rows of features equal those computed afterwards.", _NIGHTLY),
    _stored("benchmark", "strategies", "The instrument that features and labels refer to is collected.", _NIGHTLY),
    _stored("up_to_date", _DATA, "Every past day's features were computed from the bars stored now.", _NIGHTLY),
    _stored("null_share", _DATA, "No feature is null more often than before.", _NIGHTLY),
    _stored("range", _DATA, "No feature leaves its range.", _NIGHTLY),
    _stored("drift", _DATA, "No more features drift than chance explains.", _NIGHTLY, "warning"),
)
LABELS = (
    _stored("label_finality", "strategies", "No label is stored before its horizon has ended.", _NIGHTLY),
    _stored("labels_current", "strategies", "Every label rests on the bars as they are now.", _NIGHTLY),
    _stored("too_few_events", "strategies", "There are enough labels to learn from.", _NIGHTLY, "warning"),
)
FORECASTS = (
    _stored("forecasts_complete", "models", "Every instrument with enough bars is fitted for every horizon.", _NIGHTLY),
    _stored("forecasts_fresh", "models", "The newest forecast of every series is that of its newest closes.", _NIGHTLY,
            "warning"),
    _stored("forecast_coverage", "models", "The intervals of matured forecasts held as many targets as they promise.",
            _NIGHTLY, "warning"),
    _stored("forecast_skill", "models", "Matured forecasts were not surely worse than naive ones.", _NIGHTLY,
            "warning"),
)  # fmt: skip
MODELS = (
    _stored("model_label_overlap", "models", "No label that a model learned from lives while one that judges it does.",
            _NIGHTLY),
    _stored("model_no_leak", "models", "No input of a model knows what came later.", _NIGHTLY, "critical"),
    _stored("model_parity", "models", "Models answer here as they did where they were trained.", _NIGHTLY),
    _stored("model_too_good_to_be_true", "models", "No result of a model is better than markets allow.", _NIGHTLY),
    _stored("model_calibration", "models", "Probabilities of matured predictions mean what they say.", _NIGHTLY,
            "warning"),
    _stored("model_brier_skill", "models", "Matured predictions say more than the base rate alone.", _NIGHTLY,
            "warning"),
    _stored("model_input_drift", "models", "The last week's inputs look as inputs did before.", _NIGHTLY, "warning"),
    _stored("model_age", "models", "Models in use learned from data that is not too old.", _NIGHTLY),
    _stored("model_champion_present", "models", "Where a model has earned its place it can be used.", _NIGHTLY),
    _stored("predictions_complete", "models", "Every setup of a strategy with a model has its prediction.", _HOURLY,
            "warning"),
)  # fmt: skip
TRADING = (
    _stored("scans_complete", "strategies", "Every bar of the last two days was scanned by every strategy.", _HOURLY),
    _stored("setups_are_found", "strategies", "No strategy has found nothing for longer than is likely.", _HOURLY,
            "warning"),
    _stored("books_balance", "strategies", "Every event of the ledger sums to zero, and all sums of the account agree.",
            _HOURLY, "critical"),
    _stored("takes_followed_up", "strategies", "Every setup has a decision, and every taken signal what follows.",
            _HOURLY),
    _stored("broker_equals_label", "strategies", "Every closed trade is its label.", _HOURLY),
    _stored("positions_equal_venue", "strategies", "What is held is what the fills say, and what each venue has.",
            _HOURLY, "critical"),
    _stored("champion_is_production", "strategies", "The shadow ledger of production is production's own.", _NIGHTLY),
)  # fmt: skip
MACRO = tuple(
    _stored(f"macro_{name}", _DATA, promise, timedelta(hours=30), "warning",
            applies=lambda settings: settings.macro_series is not None)
    for name, promise in (
        ("release_missed", "The value of the next period of every macro series has come when it was due."),
        ("revision_size", "No revision of a macro series is unusually large."),
        ("is_fresh", "The source of macro series has answered within 24 hours."),
    )
)  # fmt: skip
_OF_VIEWS: tuple[tuple[str, str, timedelta, Severity], ...] = (
    ("is_fresh", "was refreshed in time", _HOURLY, "warning"),
    ("equals_table", "holds what the table held at its refresh", _NIGHTLY, "error"),
)
VIEWS = tuple(
    _stored(f"{view}_{check}", _DATA, f"The view {view} {promise}.", valid, severity)
    for view in ("ohlc_today", "ohlc_recent", "instrument_summary")
    for check, promise, valid, severity in _OF_VIEWS
)
STORAGE = (
    _stored("storage_disk_lasts", "load", "The disk has room for weeks at the present growth.", _HOURLY, "warning"),
    _stored("storage_partitions_ahead", "error_recovery", "The coming months have partitions.", _HOURLY, "warning"),
    _stored("storage_tables_are_not_bloated", "load", "No large table is mostly unused room.", _HOURLY, "warning"),
    _stored("tables_hold_what_is_counted", "error_recovery", "Every table holds what is counted of it.", _HOURLY,
            "critical"),
    _stored("archive_files_are_whole", "error_recovery", "No archive file has changed.", _HOURLY, "critical"),
    _stored("mirror_files", "error_recovery", "No file of the mirror has changed.", _HOURLY,
            applies=lambda settings: settings.mirror),
    _stored("mirror_fresh", "error_recovery", "Every closed day is in the mirror as it is in the table.", _HOURLY,
            "warning", applies=lambda settings: settings.mirror),
    _stored("iceberg_tables_follow", "error_recovery", "Iceberg tables list the files of mirror and archive.",
            _NIGHTLY, "warning", applies=lambda settings: settings.iceberg and find_spec("pyiceberg") is not None),
    _stored("clickhouse_equals_table", _DATA, "The mirror in ClickHouse holds what the table holds.", _NIGHTLY,
            applies=lambda settings: settings.clickhouse_url is not None),
    _stored("backup_is_right", "error_recovery", "The newest backup lacks nothing.", _NIGHTLY, "critical",
            applies=lambda settings: settings.database_url is None or bool(settings.backup_daily)),
)  # fmt: skip
CHECKS = (*BARS, *FEATURES, *LABELS, *MODELS, *FORECASTS, *TRADING, *MACRO, *VIEWS, *STORAGE)
