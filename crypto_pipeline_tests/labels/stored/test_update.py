"""Labels in the database: told when final, stale exactly where their bars changed, and the past stays as it was.

Guards I2, I5 and I11 (docs/invariants.md).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal

import crypto_pipeline
from crypto_pipeline.features.stored import update as features
from crypto_pipeline.labels.stored import inputs
from crypto_pipeline.labels.stored.checks import check_labels, checks_of
from crypto_pipeline.labels.stored.signals import Signals
from crypto_pipeline.labels.stored.training import TrainingSetError, manifest_path, purged, reproduce, training_set
from crypto_pipeline.labels.stored.update import LabelReport, bring_up_to_date, due_cells, traded
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.lake.mirror.maker import MirrorMaker
from crypto_pipeline.market import Timeframe
from crypto_pipeline.market.retention import RetentionPolicy
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive.object_store import ArchiveStorage, scan_source
from crypto_pipeline.store.mirror import catalogue
from crypto_pipeline.store.mirror.catalogue import MirrorFile
from crypto_pipeline_tests.builders.label_market import START, store_market, write
from crypto_pipeline_tests.labels.comparison import OWN, SETS

DAYS = 30
END = START + timedelta(days=DAYS)
WIDE = SETS["wide"]
EVERY = list(Strategy)


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as opened:
        yield opened


@pytest.fixture
def bars(store: Store) -> pl.DataFrame:
    return store_market(store, DAYS)


def make(store: Store, strategy: Strategy, now: datetime = END, **options: bool) -> LabelReport:
    return bring_up_to_date(store, strategy, WIDE[strategy], START, END, now=now, **options)


def values(store: Store, strategy: Strategy) -> pl.DataFrame:
    """Labels without what says when and from what they were made."""
    return store.labels.read(strategy.definition.table, WIDE[strategy].hash, START, END).drop(
        "recorded_at", "data_version"
    )


def revise(store: Store, bars: pl.DataFrame, symbol: str, at: datetime, **prices: float) -> pl.DataFrame:
    """Another value for one minute, and for what is rolled up from it; returns all minutes as they are now."""
    here = (pl.col("instrument") == symbol) & (pl.col("open_time") == at)
    later = pl.when(here).then(pl.col("revision") + timedelta(days=400)).otherwise("revision").alias("revision")
    changed = bars.with_columns(
        later, *(pl.when(here).then(pl.lit(value)).otherwise(name).alias(name) for name, value in prices.items())
    )
    day = at.replace(hour=0, minute=0)
    touched = changed.filter(
        (pl.col("instrument") == symbol) & pl.col("open_time").is_between(day, day + timedelta(days=1), closed="left")
    )
    write(store, touched)
    return changed


def mirrored_as_stored(store: Store, folder: Path) -> None:
    """Files of the mirror have the labels of every strategy as the tables have them (I10)."""
    maker = MirrorMaker(store, ArchiveStorage(str(folder / "mirror")), folder / "scratch")
    report = maker.run(END + timedelta(days=40))
    assert report.left == 0
    files = [file for file in store.connections.run(catalogue.find) if file.dataset == "labels"]
    for strategy in EVERY:
        series = f"{strategy.definition.table.strategy}/{WIDE[strategy].hash}"
        found = pl.concat(pl.read_parquet(scan_source(file.url)) for file in files if file.series == series)
        table = store.labels.read(strategy.definition.table, WIDE[strategy].hash, START, END)
        assert_frame_equal(found.select(table.columns).sort("signal_ts", "instrument"), table)
    listed_in_iceberg(store, folder, files)


def listed_in_iceberg(store: Store, folder: Path, files: list[MirrorFile]) -> None:
    """Iceberg has one table for the labels of each strategy, with the rows of its files."""
    pytest.importorskip("pyiceberg", reason="needs the extra iceberg")
    from crypto_pipeline.lake.iceberg.tables import IcebergTables

    done = IcebergTables(store.connections, str(folder / "iceberg")).follow()
    rows = {f"research.labels_{strategy}": 0 for strategy in EVERY}
    for file in files:
        rows[f"research.labels_{file.series.partition('/')[0]}"] += file.rows
    assert {str(one.name): one.rows for one in done if one.name.name.startswith("labels")} == rows


def test_labels_wait_for_their_horizon_and_come_by_themselves(store: Store, bars: pl.DataFrame, tmp_path: Path) -> None:
    for strategy in EVERY:
        horizon = timedelta(minutes=15) * WIDE[strategy].horizon
        seen = 0
        for now in (START + timedelta(days=20, hours=7, minutes=3), START + timedelta(days=24, hours=18), END):
            report = make(store, strategy, now)
            labels = values(store, strategy)
            assert labels.height > seen
            assert (labels["entry_ts"] + horizon <= now).all()
            assert report.written.superseded == report.written.withdrawn == 0
            assert make(store, strategy, now).cells == 0
            seen = labels.height
            outcomes = check_labels(store, strategy, {"default": WIDE[strategy]}, (START, now), (START, now), now, 1)
            assert {one.name: one.passed for one in outcomes} == dict.fromkeys(checks_of(strategy), True)
        assert make(store, strategy, everything=True).written.changed == 0
    mirrored_as_stored(store, tmp_path)


def test_a_revised_bar_makes_exactly_its_dependents_stale(store: Store, bars: pl.DataFrame) -> None:
    for strategy in EVERY:
        make(store, strategy)
    at = START + timedelta(days=17, hours=5, minutes=40)
    price = bars.filter(instrument="ETH-USDT", open_time=at)["close"][0] * 0.9
    changed, written = revise(store, bars, "ETH-USDT", at, low=price, close=price), 0
    for strategy in EVERY:
        parameters = WIDE[strategy]
        due = due_cells(store, Signals(strategy, parameters, START, END, END), traded(store))
        first = at.date() - timedelta(days=inputs.look_ahead(parameters))
        last = at.date() + timedelta(days=inputs.look_back(parameters))
        assert set(due["instrument"]) == {"ETH-USDT"}
        assert set(due["reason"]) == {"stale"}
        computed = store.labels.cells(strategy, parameters.hash, START, END, ["ETH-USDT"])["day"].to_list()
        assert due["day"].to_list() == [day for day in computed if first <= day <= last]
        report = make(store, strategy)
        assert report.cells == due.height
        written += report.written.changed
        assert make(store, strategy).cells == 0
    assert written > 0
    made = {strategy: values(store, strategy) for strategy in EVERY}
    forget(store)
    for strategy in EVERY:
        make(store, strategy)
        assert_frame_equal(made[strategy], values(store, strategy), rel_tol=1e-9)
    assert changed.height == bars.height


def forget(store: Store) -> None:
    """Everything from scratch."""
    with psycopg.connect(store.url) as connection:
        for strategy in EVERY:
            connection.execute(f"TRUNCATE research.strategy_{strategy}_labels, research.label_cells")  # type: ignore[arg-type]


def test_the_benchmark_is_an_input_of_dca(store: Store, bars: pl.DataFrame) -> None:
    make(store, Strategy.DCA)
    make(store, Strategy.SWING)
    at = START + timedelta(days=17, hours=5, minutes=40)
    price = bars.filter(instrument="BTC-USDT", open_time=at)["close"][0] * 0.9
    revise(store, bars, "BTC-USDT", at, low=price, close=price)
    tiers = traded(store)
    due = due_cells(store, Signals(Strategy.DCA, WIDE[Strategy.DCA], START, END, END), tiers)
    assert set(due["instrument"]) == set(tiers)
    due = due_cells(store, Signals(Strategy.SWING, WIDE[Strategy.SWING], START, END, END), tiers)
    assert set(due["instrument"]) == {"BTC-USDT"}


def test_without_its_benchmark_dca_says_so_and_comes_by_itself_when_there_is_one(
    store: Store, bars: pl.DataFrame
) -> None:
    strategy, parameters = Strategy.DCA, WIDE[Strategy.DCA]

    def bring(benchmark: str) -> LabelReport:
        return bring_up_to_date(store, strategy, parameters, START, END, now=END, benchmark=benchmark)

    def check(benchmark: str, chosen: Strategy = strategy) -> dict[str, tuple[bool, str]]:
        span = START, END
        outcomes = check_labels(store, chosen, {"default": WIDE[chosen]}, span, span, END, 1, benchmark)
        return {one.name: (one.passed, one.summary) for one in outcomes}

    report = bring("XBT")
    assert (report.benchmark, report.labels) == (None, 0)
    passed, said = check("XBT")["benchmark"]
    assert not passed
    assert "'XBT' is not collected" in said
    assert "instruments add XBT-USDT" in said
    assert "benchmark" not in check("XBT", Strategy.SWING)
    assert check("none")["benchmark"][0]  # a person said so
    # Another setting, or another benchmark, is another market: every day is due again, and no other strategy's.
    assert not check("BTC")["labels_current"][0]
    report = bring("BTC")
    assert (report.benchmark, report.stale) == ("BTC-USDT", report.cells)
    assert report.labels > 0
    assert check("BTC")["benchmark"][0]
    assert bring("BTC-USDT").cells == 0
    assert bring("ETH").stale == report.cells
    # An inactive instrument is no benchmark, neither of features nor of labels.
    store.instruments.remove("BTC-USDT")
    assert features.Universe.from_store(store, "BTC").benchmark is None
    assert not check("BTC")["benchmark"][0]


def test_minutes_that_decided_are_inputs_and_others_are_not(store: Store, bars: pl.DataFrame) -> None:
    strategy, parameters = Strategy.SWING, SETS["narrow"][Strategy.SWING]
    bring_up_to_date(store, strategy, parameters, START, END, now=END)
    labels = store.labels.read(strategy.definition.table, parameters.hash, START, END)
    decided = labels.filter((pl.col("ambiguous") == "minutes") & (pl.col("signal_ts") > START + timedelta(days=14)))
    row = decided.row(0, named=True)
    quarter = row["label_end_ts"] - timedelta(minutes=15)
    inside = bars.filter(
        (pl.col("instrument") == row["instrument"])
        & pl.col("open_time").is_between(quarter, row["label_end_ts"], closed="left")
    )
    # The same minutes in the opposite order: highs and lows of the wider bar stay, its history turns round.
    turned = inside.with_columns(
        pl.col("open", "high", "low", "close", "volume", "quote_volume").reverse(),
        revision=pl.col("revision") + timedelta(days=400),
    )
    store.bars.write(turned, Timeframe.M1)
    due = due_cells(store, Signals(strategy, parameters, START, END, END), traded(store))
    assert set(due["instrument"]) == {row["instrument"]}
    bring_up_to_date(store, strategy, parameters, START, END, now=END)
    key = {"instrument": row["instrument"], "signal_ts": row["signal_ts"]}
    after = store.labels.read(strategy.definition.table, parameters.hash, START, END).filter(**key).row(0, named=True)
    assert (row["outcome"], after["outcome"]) in {("TP", "SL"), ("SL", "TP")}


def test_a_bar_missing_without_a_reason_holds_labels_back(store: Store, bars: pl.DataFrame) -> None:
    strategy, parameters = Strategy.DCA, WIDE[Strategy.DCA]
    at = START + timedelta(days=20, hours=9)
    with psycopg.connect(store.url) as connection:
        connection.execute(
            "DELETE FROM market.ohlc_data o USING market.instruments i WHERE o.instrument_id = i.instrument_id "
            "AND i.symbol = 'PEPE-USDT' AND o.timeframe = '15m' AND o.open_time = %s", [at]
        )  # fmt: skip
    report = make(store, strategy)
    assert report.waiting > 0
    labels = values(store, strategy).filter(pl.col("instrument") == "PEPE-USDT")
    reach = timedelta(minutes=15) * (parameters.horizon + 1)
    touched = (pl.col("signal_ts") + reach > at) & (pl.col("signal_ts") - timedelta(hours=24) < at)
    assert labels.filter(touched & (pl.col("signal_ts") != at)).is_empty()
    outcome = check_labels(
        store, strategy, {"default": parameters}, (START, END), (START, END), END + timedelta(days=9), 1
    )[0]
    assert (outcome.name, outcome.passed, set(outcome.offenders["instrument"])) == (
        "label_finality",
        False,
        {"PEPE-USDT"},
    )
    gap = {"instrument": "PEPE-USDT", "timeframe": "15m", "start": at, "end": at + timedelta(minutes=15)}
    store.ledger.record(pl.DataFrame([gap | {"state": "venue_outage", "evidence": "{}"}]))
    assert make(store, strategy).waiting == 0
    assert values(store, strategy).filter((pl.col("instrument") == "PEPE-USDT") & touched).height > 0


def test_labels_outlive_the_bars_they_were_computed_from(store: Store, bars: pl.DataFrame) -> None:
    make(store, Strategy.CHANNEL)
    before = values(store, Strategy.CHANNEL)
    with psycopg.connect(store.url) as connection:
        old = START + timedelta(days=15)
        connection.execute("DELETE FROM market.ohlc_data WHERE open_time < %s", [old])
        connection.execute(
            "UPDATE market.coverage SET present = 0, expected = 0, data_version = nextval('market.data_version') "
            "WHERE day < %s", [old.date()]
        )  # fmt: skip
    assert make(store, Strategy.CHANNEL).cells == 0
    assert_frame_equal(values(store, Strategy.CHANNEL), before)


def test_a_training_set_of_the_past_does_not_change(
    store: Store, bars: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for strategy in EVERY:
        make(store, strategy)
    moment = store.labels.settle()
    files, before = {}, {}
    for strategy in EVERY:
        made = training_set(store, strategy, START, END, as_of=moment, parameters=WIDE[strategy])
        assert made.frame.height > 20
        assert (made.frame["available_at"] == made.frame["entry_ts"]).all()
        before[strategy], files[strategy] = made, tmp_path / f"{strategy}.parquet"
        made.write(files[strategy])
    changed = bars
    for strategy in EVERY:  # a fall in the entry bar of a label that had lasted longer
        row = values(store, strategy).filter(pl.col("bars_to_touch") > 1).row(7, named=True)
        at, price = row["entry_ts"] + timedelta(minutes=7), row["stop_loss"] * 0.9
        changed = revise(store, changed, row["instrument"], at, low=price, close=price)
    for strategy in EVERY:
        assert make(store, strategy).written.changed > 0
        again = training_set(store, strategy, START, END, as_of=moment, parameters=WIDE[strategy])
        assert_frame_equal(again.frame, before[strategy].frame, check_exact=True)
        now = training_set(store, strategy, START, END, parameters=WIDE[strategy])
        assert not now.frame.equals(again.frame)
        manifest = json.loads(manifest_path(files[strategy]).read_text())
        copy = tmp_path / "again.parquet"
        reproduce(store, manifest).write(copy)
        assert copy.read_bytes() == files[strategy].read_bytes()
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", store.url)
    monkeypatch.setenv("CRYPTO_PIPELINE_LABEL_PARAMETERS", json.dumps(OWN))
    public = crypto_pipeline.training_set("channel", START, END, as_of=moment, parameter_set="wide")
    assert_frame_equal(public, before[Strategy.CHANNEL].frame, check_exact=True)
    with pytest.raises(TrainingSetError, match="the manifest says"):
        reproduce(store, {**manifest, "as_of": now.manifest["as_of"]})


def test_a_training_set_survives_recomputation_and_says_when_bars_are_gone(
    store: Store, bars: pl.DataFrame, tmp_path: Path
) -> None:
    strategy, parameters = Strategy.CHANNEL, WIDE[Strategy.CHANNEL]
    make(store, strategy)
    begin = START + timedelta(days=17)
    made = training_set(store, strategy, begin, END, parameters=parameters)
    file = tmp_path / "channel.parquet"
    manifest = json.loads(made.write(file).read_text())
    # Everything is computed again, features and labels, after a bar changed.
    at = made.frame["entry_ts"][5] + timedelta(minutes=7)
    price = bars.filter(instrument=made.frame["instrument"][5])["low"].min() * 0.5
    revise(store, bars, made.frame["instrument"][5], at, low=price, close=price)
    assert make(store, strategy, everything=True).written.changed > 0
    features.bring_up_to_date(store, START, END, now=END)
    again = reproduce(store, manifest)
    assert_frame_equal(again.frame, made.frame, check_exact=True)
    again.write(tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == file.read_bytes()
    # 15m bars that labels were computed with are removed: far enough back they are none of the features' business …
    remove(store, Timeframe.M15, begin - timedelta(days=9))
    assert_frame_equal(reproduce(store, manifest).frame, made.frame, check_exact=True)
    # … then they are, and it says so instead of leaving rows out.
    remove(store, Timeframe.M15, begin)
    with pytest.raises(StoreError, match=r"15m bars from which features .* have been removed, first of"):
        reproduce(store, manifest)
    with pytest.raises(StoreError, match="start after"):
        training_set(store, strategy, begin, END, parameters=parameters)
    later = begin + timedelta(days=9)
    policy = RetentionPolicy.of({}, {"1h": (datetime.now(UTC) - later).days + 3}, 7, 7, 2000)
    remove(store, Timeframe.H1, later - timedelta(days=3))
    with pytest.raises(StoreError, match=r"features need 1h bars of .* no longer kept"):
        training_set(store, strategy, later, END, parameters=parameters, retention=policy)


def remove(store: Store, timeframe: Timeframe, before: datetime) -> None:
    """As retention does."""
    with psycopg.connect(store.url) as connection:
        connection.execute(
            "DELETE FROM market.ohlc_data WHERE timeframe = %s AND open_time < %s", [str(timeframe), before]
        )
        connection.execute("DELETE FROM market.coverage WHERE timeframe = %s AND day < %s", [str(timeframe), before])


def test_a_fold_is_purged(store: Store, bars: pl.DataFrame) -> None:
    make(store, Strategy.DCA)
    frame = training_set(store, Strategy.DCA, START, END, parameters=WIDE[Strategy.DCA]).frame
    begin, end = START + timedelta(days=15), START + timedelta(days=18)
    train, test = purged(frame, begin, end)
    assert test.height
    assert train.height
    ends = test["label_end_ts"].max()
    assert isinstance(ends, datetime)
    for row in train.iter_rows(named=True):
        assert row["label_end_ts"] < begin or row["available_at"] >= ends + timedelta(days=1)


def test_settling_waits_for_who_writes(store: Store) -> None:
    with psycopg.connect(store.url) as writer:
        writer.execute("SELECT pg_current_xact_id()")
        found: list[datetime] = []
        waiting = threading.Thread(target=lambda: found.append(store.labels.settle()))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        writer.commit()
        waiting.join(20)
    assert len(found) == 1
    with pytest.raises(StoreError, match="is in the future"):
        store.labels.settle(datetime.now(UTC) + timedelta(hours=1))
