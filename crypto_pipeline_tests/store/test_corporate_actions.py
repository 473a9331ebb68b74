"""Corporate actions in the store: what was stated is kept, of each event the newest statement holds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.market.corporate_actions import actions
from crypto_pipeline.market.corporate_actions.actions import ACTION_SCHEMA, ActionKind, CorporateAction
from crypto_pipeline.market.instruments import AssetClass, Instrument, Tier
from crypto_pipeline.store import Store, StoreError, corporate_actions
from crypto_pipeline.store.corporate_actions import RecordedActions

NEW_YORK = "America/New_York"
SEEN = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def stock(symbol: str) -> Instrument:
    return Instrument(
        symbol=symbol, asset_class=AssetClass.STOCK, base=symbol, quote="USD", tier=Tier.STOCK, calendar="XNYS"
    )


@pytest.fixture
def stocks(store: Store) -> Store:
    store.instruments.add([stock("AAPL"), stock("META")])
    store.connections.run(lambda connection: connection.execute("TRUNCATE market.corporate_actions") and None)
    return store


def split(day: date = date(2024, 2, 1), shares: float = 7, **more: object) -> CorporateAction:
    return actions.split("AAPL", day, NEW_YORK, 1, shares, seen_at=SEEN, event_id="s1", **more)  # type: ignore[arg-type]


def paid(day: date, amount: float, event: str, declared: date | None = None) -> CorporateAction:
    return actions.dividend(
        "AAPL", day, NEW_YORK, amount, "USD", seen_at=SEEN, declared=declared, event_id=event
    )  # fmt: skip


def test_the_same_statement_adds_no_row_and_a_correction_holds_from_then_on(stocks: Store) -> None:
    record = stocks.corporate_actions.record
    assert record([split()], "massive", seen_at=SEEN) == RecordedActions(added=1)
    assert record([split()], "massive", seen_at=SEEN + HOUR) == RecordedActions()
    assert record([split(shares=4)], "massive", seen_at=SEEN + 2 * HOUR) == RecordedActions(changed=1)

    def shares(at: datetime) -> list[float]:
        return stocks.corporate_actions.as_of(["AAPL"], at)["split_to"].to_list()

    assert shares(SEEN + HOUR) == [7]
    assert shares(SEEN + 2 * HOUR) == shares(NOW) == [4]
    # a correction that comes with an older time than what it corrects still holds
    record([split(shares=5)], "massive", seen_at=SEEN)
    assert shares(NOW) == [5]


def test_what_a_whole_answer_no_longer_has_is_withdrawn_and_may_come_back(stocks: Store) -> None:
    record, read = stocks.corporate_actions.record, stocks.corporate_actions.as_of
    dividend = paid(date(2024, 2, 9), 0.24, "d1", declared=date(2024, 2, 1))
    record([split(), dividend], "massive", seen_at=SEEN)
    whole = [("AAPL", ActionKind.SPLIT)]
    assert record([], "massive", seen_at=SEEN + HOUR, whole=whole) == RecordedActions(withdrawn=1)
    assert record([], "massive", seen_at=SEEN + HOUR, whole=whole) == RecordedActions()
    assert read(["AAPL"], SEEN)["kind"].to_list() == ["split", "dividend"]
    assert read(["AAPL"], NOW)["kind"].to_list() == ["dividend"]
    # another venue's statements are its own
    assert record([], "other", seen_at=NOW, whole=[("AAPL", ActionKind.DIVIDEND)]) == RecordedActions()
    assert record([split()], "massive", seen_at=SEEN + 2 * HOUR) == RecordedActions(changed=1)
    assert read(["AAPL"], NOW)["kind"].to_list() == ["split", "dividend"]


def test_an_action_is_read_from_when_it_was_known_and_applied_from_when_it_is_in_effect(stocks: Store) -> None:
    rename = actions.rename("META", date(2022, 6, 9), NEW_YORK, "FB", "META", seen_at=SEEN)
    announced = paid(date(2024, 2, 9), 0.24, "d1", declared=date(2024, 2, 1))
    stocks.corporate_actions.record([rename, announced], "massive", seen_at=SEEN)
    read = stocks.corporate_actions.as_of
    frame = read(["AAPL", "META"], NOW)
    assert dict(frame.schema) == ACTION_SCHEMA
    assert frame.select("instrument", "old_symbol", "new_symbol", "amount").rows() == [
        ("AAPL", None, None, 0.24), ("META", "FB", "META", None),
    ]  # fmt: skip
    between = datetime(2024, 2, 5, tzinfo=UTC)
    assert read(["AAPL"], between).is_empty()
    assert read(["AAPL"], between, effective_by=NOW)["known_at"].to_list() == [datetime(2024, 2, 2, 5, tzinfo=UTC)]
    assert read(["AAPL"], datetime(2024, 2, 1, tzinfo=UTC), effective_by=NOW).is_empty()
    with pytest.raises(StoreError, match="unknown instrument 'MSFT'"):
        read(["MSFT"], NOW)


def test_one_action_that_two_venues_state_counts_once(stocks: Store) -> None:
    for venue in ("massive", "other"):
        stocks.corporate_actions.record([split()], venue, seen_at=SEEN)
    assert stocks.corporate_actions.as_of(["AAPL"], NOW).height == 1


def test_an_instrument_that_is_forgotten_takes_its_actions_along(stocks: Store) -> None:
    stocks.corporate_actions.record([split()], "massive", seen_at=SEEN)
    stocks.instruments.remove("AAPL")
    assert stocks.instruments.forget(["AAPL"]) == ["AAPL"]


def test_few_and_many_instruments_are_read_alike(stocks: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = actions.rename("META", date(2022, 6, 9), NEW_YORK, "FB", "META", seen_at=SEEN)
    stocks.corporate_actions.record([split(), rename, paid(date(2024, 2, 9), 0.24, "d1")], "massive", seen_at=SEEN)
    few = stocks.corporate_actions.as_of(["AAPL", "META"], NOW)
    monkeypatch.setattr(corporate_actions, "_FEW", 0)
    assert_frame_equal(few, stocks.corporate_actions.as_of(["AAPL", "META"], NOW))
    assert few.height == 3
