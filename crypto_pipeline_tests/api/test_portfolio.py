"""The routes of the portfolio: what they answer is what the ledger says, in the form that OpenAPI describes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fastapi.testclient import TestClient

from crypto_pipeline import Reader
from crypto_pipeline.api import portfolio_models as models
from crypto_pipeline.api.app import create_app
from crypto_pipeline.api.operations.figures import DeploymentFigures
from crypto_pipeline.api.stream.channel import Channel
from crypto_pipeline.api.stream.frames import encoded_rows
from crypto_pipeline.api.stream.names import ChannelName
from crypto_pipeline.api.stream.sources.trading import TradingChannels
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.trading.stored.replay import TradingReplay, replay_trading
from crypto_pipeline_tests.api.stream.clients import DESCRIBED
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.trading_market import FREQUENT, FROM, book, stored_trading_market

TO = FROM + timedelta(days=3)


@pytest.fixture(scope="module")
def url(new_database: NewDatabase) -> Iterator[str]:
    with new_database("portfolio_served") as made:
        yield made


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[TestClient]:
    settings = load_settings(label_parameters=FREQUENT)
    app = create_app(Reader(url), figures=DeploymentFigures(url, settings))
    with TestClient(app) as made:
        yield made


def test_before_anything_was_traded(client: TestClient) -> None:
    found = models.PortfolioAnswer.model_validate(client.get("/portfolio").json())
    assert (found.as_of, found.equity, found.trades.trades, found.figures) == (None, "10000", 0, None)
    assert client.get("/positions").json() == {"as_of": None, "positions": []}
    assert client.get("/trades").json() == {"trades": []}
    assert client.get("/signals").json() == {"signals": []}


@pytest.fixture(scope="module")
def replay(url: str) -> TradingReplay:
    with Store(url) as store:
        stored_trading_market(store, 8, absent=0)
        found = replay_trading(store, load_settings(label_parameters=FREQUENT), FROM, TO)
        book(store, found)
    return found


def test_they_answer_what_the_ledger_says(client: TestClient, replay: TradingReplay) -> None:
    account = models.PortfolioAnswer.model_validate(client.get("/portfolio", params={"points": 10}).json())
    last = replay.simulation.equity.row(-1, named=True)
    assert Decimal(account.equity) == last["equity"] == Decimal(account.cash) + Decimal(account.exposure)
    assert Decimal(account.trades.pnl) == replay.book.figures.pnl
    assert sum(Decimal(one.pnl) for one in account.by_strategy.values()) == replay.book.figures.pnl
    assert account.as_of == TO
    assert len(account.curve) <= 10
    assert account.curve[-1].moment == TO
    positions = models.PositionsAnswer.model_validate(client.get("/positions").json()).positions
    assert {one.instrument for one in positions} == set(replay.simulation.positions["instrument"])
    trades = models.ClosedTradesAnswer.model_validate(client.get("/trades", params={"limit": 1000}).json()).trades
    assert sum(Decimal(one.pnl) for one in trades) == replay.book.figures.pnl
    rejected = client.get("/signals", params={"decision": "rejected", "limit": 1000}).json()
    signals = models.SignalsAnswer.model_validate(rejected).signals
    assert len(signals) == replay.book.rejections["signals"].sum()
    assert all(one.reason and not one.accepted for one in signals)


#: Fields that HTTP and stream have in common, which are no times.
_SAME = (
    "strategy", "instrument", "tier", "outcome", "decision_price", "average_price", "stop_loss_price",
    "take_profit_price", "units", "spent", "pnl", "fees", "net_return",
)  # fmt: skip


def test_the_stream_has_the_same_trades_and_signals(client: TestClient, replay: TradingReplay, url: str) -> None:
    channels = [Channel(ChannelName.parse(name)) for name in ("signals", "trades")]
    with Store(url) as store:
        signals, trades = (update.rows for update in TradingChannels(store).read(channels, {None}))
    for name, rows in (("signals", signals), ("trades", trades)):
        DESCRIBED.validate(json.loads(encoded_rows("snapshot", name, 0, rows)))
    decided = client.get("/signals", params={"limit": 200}).json()["signals"]
    assert sorted(row.accepted for row in signals) == sorted(one["accepted"] for one in decided)  # type: ignore[attr-defined]
    sent = [json.loads(encoded_rows("delta", "trades", 0, [row]))["rows"][0] for row in trades]
    assert sum(row["state"] == "open" for row in sent) == len(client.get("/positions").json()["positions"])
    closed = {(row["strategy"], row["instrument"], row["signal_ts"]): row for row in sent if row["state"] == "closed"}
    told = client.get("/trades", params={"limit": 200}).json()["trades"]
    assert len(told) == len(closed) > 0
    for one in told:
        row = closed[one["strategy"], one["instrument"], unix_ms(datetime.fromisoformat(one["signal_ts"]))]
        assert {name: row[name] for name in _SAME} == {name: one[name] for name in _SAME}
        assert row["exit_ts"] == unix_ms(datetime.fromisoformat(one["exit_ts"]))


def test_pages_follow_each_other(client: TestClient, replay: TradingReplay) -> None:
    def page(**asked: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.get("/trades", params=asked).json()["trades"]
        return found

    whole = page(limit=6)
    assert page(limit=2, offset=2) == whole[2:4]
    start = whole[3]["exit_ts"]
    assert [one["exit_ts"] for one in page(start=start, strategy=whole[0]["strategy"])] <= [
        one["exit_ts"] for one in whole[:4]
    ]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/trades?limit=0", 422, "limit"),
        ("/trades?instrument=NO-USDT", 404, "unknown instrument 'NO-USDT'"),
        ("/signals?decision=perhaps", 422, "decision"),
        ("/portfolio?points=9999", 422, "points"),
        ("/positions?strategy=none", 422, "strategy"),
        ("/trades?start=yesterday", 422, "start"),
    ],
)
def test_bad_questions_are_answered_in_one_line(
    client: TestClient, replay: TradingReplay, path: str, status: int, words: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert words in answer.text
