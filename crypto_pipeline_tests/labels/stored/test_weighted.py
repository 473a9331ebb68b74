"""Training sets of a wide parameter set: every event of the default one is in it, and weights know the whole market.

Guards I2, I5 and I11 (docs/invariants.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.stored.training import TrainingSet, reproduce, training_set
from crypto_pipeline.labels.stored.update import bring_up_to_date
from crypto_pipeline.labels.strategies.base import Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline_tests.builders.label_market import START, store_market
from crypto_pipeline_tests.labels.comparison import OWN
from crypto_pipeline_tests.oracles.labels import QUARTER

DAYS = 24
END = START + timedelta(days=DAYS)
MIDDLE, LATE = START + timedelta(days=12), START + timedelta(days=17)
#: DCA setups keep a distance, so that a setup of the narrower set need not be one of the wider set.
SETS = parameter_sets({"default": OWN["wide"] | {"dca": {"fall": 0.02, "volume_ratio": 0.5, "rsi_max": 60}},
                       "loose": {"dca": {"fall": 0.012}, "channel": {"touches": 0, "position_max": 0.5}}})  # fmt: skip
KEY = ["instrument", "signal_ts"]
#: Of the label; features of a longer span differ in their last bits.
ENDS = ["net_return", "label_end_ts", "outcome", "uniqueness"]


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as opened:
        store_market(opened, DAYS)
        yield opened


def make(store: Store, strategy: Strategy, parameters: Parameters) -> pl.DataFrame:
    bring_up_to_date(store, strategy, parameters, START, END, now=END)
    return store.labels.read(strategy.definition.table, parameters.hash, START, END)


def both(store: Store, strategy: Strategy, **options: object) -> TrainingSet:
    sets = {"parameters": SETS["loose"][strategy], "default": SETS["default"][strategy]}
    span = options.pop("start", START), options.pop("end", END)
    return training_set(store, strategy, *span, **sets, **options)  # type: ignore[arg-type]


def shares_of(labels: pl.DataFrame) -> dict[tuple[object, ...], float]:
    """The share of the market by instrument and signal, one bar after the other."""
    spans = labels.select(*KEY, pl.col("entry_ts", "label_end_ts").to_physical()).rows()
    alive = Counter(bar for *_, entry, end in spans for bar in range(entry, end, QUARTER))
    lives = {
        (name, signal): [1 / alive[bar] for bar in range(entry, end, QUARTER)] for name, signal, entry, end in spans
    }
    return {key: sum(life) / len(life) for key, life in lives.items()}


@pytest.mark.parametrize("strategy", [Strategy.DCA, Strategy.CHANNEL])
def test_the_loose_set_holds_every_default_event_and_weighs_by_the_whole_market(
    store: Store, strategy: Strategy
) -> None:
    default, loose = (make(store, strategy, SETS[name][strategy]) for name in ("default", "loose"))
    made = both(store, strategy, eligible_only=False)
    frame = made.frame
    judged = frame.filter("is_default")
    assert 20 < judged.height < frame.height
    assert judged.select(KEY).equals(default.select(KEY))
    assert_frame_equal(
        judged.select(*KEY, "net_return", "label_end_ts"), default.select(*KEY, "net_return", "label_end_ts")
    )
    only_loose = loose.join(default, on=KEY, how="anti")
    assert frame.filter(~pl.col("is_default")).select(KEY).equals(only_loose.select(KEY))
    if strategy is Strategy.DCA:  # setups of the default set that the spacing of the loose one leaves out
        assert default.join(loose, on=KEY, how="anti").height > 0
    shares = shares_of(pl.concat([default, only_loose]))
    for *key, share in frame.select(*KEY, "market_uniqueness").iter_rows():
        assert share == pytest.approx(shares[tuple(key)], rel=1e-12)
    assert frame["weight"].mean() == pytest.approx(1)
    ratios = frame["weight"] / frame["market_uniqueness"]
    assert ratios.max() - ratios.min() < 1e-9 * ratios.max()  # type: ignore[operator]
    settled = frame.filter(pl.col("signal_ts") < END - timedelta(days=7))  # nothing that overlaps them waits
    assert (settled["market_uniqueness"] <= settled["uniqueness"] + 1e-12).all()
    # Whoever asks for less gets the same shares: who begins before or after, and in other instruments, counts too.
    less = both(store, strategy, start=MIDDLE, end=LATE, instruments=["ETH-USDT"], eligible_only=False)
    within = pl.col("signal_ts").is_between(MIDDLE, LATE, closed="left")
    same = frame.filter((pl.col("instrument") == "ETH-USDT") & within)
    assert less.frame.height > 5
    columns = [*KEY, *ENDS, "market_uniqueness", "is_default"]
    assert less.frame.select(columns).equals(same.select(columns))
    assert reproduce(store, made.manifest).frame.equals(frame)
    with pytest.raises(StoreError, match="unknown instrument 'ETH'"):
        both(store, strategy, instruments=["ETH"])


def test_a_set_alone_is_judged_on_itself(store: Store) -> None:
    parameters = SETS["loose"][Strategy.SWING]
    labels = make(store, Strategy.SWING, parameters)
    made = training_set(store, "swing", START, END, parameters=parameters, eligible_only=False)
    assert made.frame["is_default"].all()
    assert made.frame.height == labels.height > 20
    assert made.manifest["default_parameters"] is None
    assert reproduce(store, made.manifest).frame.equals(made.frame)


def test_labels_of_an_earlier_method_stay_readable_under_their_hash(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy, parameters = Strategy.DCA, SETS["default"][Strategy.DCA]
    table = strategy.definition.table
    with monkeypatch.context() as earlier:
        earlier.setattr(type(parameters), "METHOD", 3)
        former = parameters.hash
        before = make(store, strategy, parameters)
    assert before.height > 20
    now = make(store, strategy, parameters)
    assert parameters.hash != former
    assert set(now["params_hash"]) == {parameters.hash}
    assert_frame_equal(store.labels.read(table, former, START, END), before)
    assert store.labels.parameters(former)["fall"] == 0.02
