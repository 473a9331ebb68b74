"""A labelled market on which a model can be trained in a second: many setups of one strategy, and small minima."""

from __future__ import annotations

from datetime import timedelta

from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.stored.update import bring_up_to_date
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Instrument
from crypto_pipeline.models.settings import BoostingSettings, Minima, TrainingSettings
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.feature_market import minutes
from crypto_pipeline_tests.builders.label_market import START, TIERS, write

STRATEGY = Strategy.DCA
DAYS = 19
NOW = START + timedelta(days=DAYS)
_EXITS = {tier: {"take_profit": 0.025, "stop_loss": 0.025} for tier in ("large", "mid", "meme")}
_OFTEN = {
    "fall": 0.0001, "volume_ratio": 0.0, "rsi_max": 100.0, "spacing": 6, "horizon": 48, "exits": _EXITS,
}  # fmt: skip
SETTINGS = Settings(label_parameters={"default": {"dca": _OFTEN}})
TRAINING = TrainingSettings(
    boosting=BoostingSettings(rounds=20), minima=Minima(100, 20, 3, 2, 10), folds=1, test_days=2, holdout_days=4
)


def store_labelled_market(store: Store) -> None:
    """Bars (random walks) and labels of both sets of STRATEGY up to NOW, which the market's clock says it is."""
    store.instruments.add([Instrument.crypto(symbol, tier) for symbol, tier in TIERS.items()])
    write(store, minutes(tuple(TIERS), DAYS, seed=3, start=START))
    sets = parameter_sets(SETTINGS.label_parameters)
    for name in ("default", "loose"):
        bring_up_to_date(store, STRATEGY, sets[name][STRATEGY], START, NOW, now=NOW)
    store.clock.learn("replay", NOW)
