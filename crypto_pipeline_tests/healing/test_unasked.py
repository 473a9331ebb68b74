"""Expected bars that nothing has asked for: a longer history, and days that no run came to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from crypto_pipeline.healing import plan
from crypto_pipeline.healing.checks.stored_bars import accounted_for
from crypto_pipeline.healing.unasked import untouched_history, without_history
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.status import Stored
from crypto_pipeline.reading.absent.unasked import with_unasked
from crypto_pipeline_tests.healing.conftest import Bench

DAY = timedelta(days=1)


def test_a_longer_history_is_missed_until_it_has_been_asked_for(make_bench: Callable[..., Bench]) -> None:
    """Guards I3 (docs/invariants.md)."""
    bench = make_bench(settings={"days": 1}, instruments="BTCUSDT,ETHUSDT")
    store, names = bench.store, ["BTC-USDT", "ETH-USDT"]
    bench.collect(*names)
    wanted = dict.fromkeys(names)
    assert without_history(store, bench.settings) == wanted, "they are new"
    assert untouched_history(store, bench.settings) == {}, "the sensor knows new instruments by itself"
    bench.run(lambda pipeline: pipeline.backfill())
    assert without_history(store, bench.settings) == {}
    assert untouched_history(store, bench.settings) == {}

    longer = bench.settings.model_copy(update={"days": 3})
    first = (store.clock.now() - 3 * DAY).date()
    assert set(without_history(store, longer)) == set(names)
    assert untouched_history(store, longer) == dict.fromkeys(names, first)
    assert Stored.read(store).history_waiting == []
    assert any("not all history of 2 instruments" in text for text in Stored.read(store, longer).reasons)

    # any run makes the longer history expected, and fills only its own days
    bench.settings = longer
    horizon = bench.run(_horizon)
    listings = store.instruments.frame("replay").select("instrument", "calendar")
    plan.refresh_expected(store, listings, horizon, list(Timeframe))
    assert without_history(store, longer) == {}
    assert untouched_history(store, longer) == dict.fromkeys(names, first)
    told = with_unasked(store, store.ledger.open(), names, [Timeframe.M1, Timeframe.H1], (None, None))
    rows = told.filter(state="unasked")
    assert set(rows["instrument"]) == set(names)
    assert rows.filter(timeframe="1m")["bars"].to_list() == [2880, 2880]
    assert rows["start"].min() == datetime(first.year, first.month, first.day, tzinfo=UTC)

    newest = horizon.now - timedelta(hours=1), horizon.now
    assert accounted_for(store, Timeframe.M1, *newest, horizon).passed, "a run may be on its way to them"
    store.connections.run(
        lambda connection: connection.execute("UPDATE market.coverage SET updated_at = now() - interval '3 h'") and None
    )
    found = accounted_for(store, Timeframe.M1, *newest, horizon)
    assert not found.passed, "no run looks at days that none comes to"
    assert set(found.offenders["day"]) == {first, first + DAY}
    assert accounted_for(store, Timeframe.M1, *newest).passed
    bench.run(lambda pipeline: pipeline.backfill(instruments=["BTC-USDT"]))
    assert set(accounted_for(store, Timeframe.M1, *newest, horizon).offenders["instrument"]) == {"ETH-USDT"}
    assert untouched_history(store, longer) == {"ETH-USDT": first}
    assert (
        with_unasked(store, store.ledger.open(), ["BTC-USDT"], list(Timeframe), (None, None))
        .filter(state="unasked")
        .is_empty()
    )


async def _horizon(pipeline: object) -> plan.Horizon:
    return await pipeline.horizon()  # type: ignore[attr-defined,no-any-return]
