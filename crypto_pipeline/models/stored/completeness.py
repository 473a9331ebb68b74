"""Whether every setup that may be traded has its prediction."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.labels.parameters import DEFAULT, parameter_sets
from crypto_pipeline.labels.stored.setups import stored_setups
from crypto_pipeline.labels.stored.update import traded
from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.models.stored.matured import MOST
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store

CHECK = "predictions_complete"
PROMISE = "Every setup of the default set since its strategy has a champion has a prediction, or why it was refused."
#: A setup may wait so long for its prediction: features come first.
_PATIENCE = timedelta(minutes=15)


def predictions_complete(
    store: Store, settings: Settings, start: datetime, end: datetime, now: datetime
) -> CheckOutcome:
    """Setups whose signal bar opened in ``[start, end)`` and that have no prediction, of strategies with a champion.

    Setups are found on all bars up to ``end``, as those are that get a prediction: of a signal whose next bar never
    came nobody can enter, and nothing is missing.
    """
    missing, setups, until = [], 0, TIMEFRAME.floor(min(end, now - _PATIENCE))
    tiers, sets = traded(store), parameter_sets(settings.label_parameters)[DEFAULT]
    for name in sorted(store.models.champions()):
        strategy = Strategy(name)
        first = max(start, TIMEFRAME.floor(store.models.aliases(name)["champion"].since_market))
        if first >= until or not tiers:
            continue
        found = (
            stored_setups(store, strategy, sets[strategy], first, end, tiers, benchmark=settings.feature_benchmark)
            .filter(pl.col("signal_ts") < until)
            .select("instrument", "signal_ts")
        )
        setups += found.height
        made = [
            (row.instrument, row.signal_ts)
            for row, _ in store.models.predictions.read(strategy=name, start=first, end=until, limit=MOST)
        ]
        told = pl.DataFrame(made, schema=found.schema, orient="row")
        without = found.join(told, on=["instrument", "signal_ts"], how="anti")
        missing.append(without.select(pl.lit(name).alias("strategy"), "instrument", "signal_ts"))
    offenders = pl.concat(missing) if missing else pl.DataFrame()
    if offenders.height:
        words = f"{offenders.height} of {setups} setups have no prediction: materialize `predictions`"
        return CheckOutcome(CHECK, "predictions", False, "warning", words, offenders)
    words = f"all {setups} setups have a prediction" if missing else "no model is in use: rules alone"
    return CheckOutcome(CHECK, "predictions", True, "warning", words, offenders)
