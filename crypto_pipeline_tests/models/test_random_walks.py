"""Random walks of bars through setups, labels and features: a model has every input and finds nothing in them.

`bench/models.py --bars` runs 100 histories of every strategy; here is one, long enough that a leak would show.
"""

from __future__ import annotations

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.settings import BoostingSettings, Minima, TrainingSettings
from crypto_pipeline.models.training import Trained, train
from crypto_pipeline_tests.builders.walk_market import walk_events


def test_nothing_is_found_in_a_market_without_memory() -> None:
    boosting = BoostingSettings(rounds=30, threads=1, learning_rate=0.06)
    settings = TrainingSettings(boosting=boosting, minima=Minima(holdout_default_events=0))
    found = train(walk_events(Strategy.SWING, 24, 150, 2), Strategy.SWING, settings)
    assert isinstance(found, Trained), found
    assert found.findings == ()
    loose = found.model.metrics["out_of_fold_loose"]
    assert loose["rows"] > 800
    assert 0.42 < loose["auc"] < 0.58
    assert loose["log_loss"] > loose["log_loss_base"] - 0.005
