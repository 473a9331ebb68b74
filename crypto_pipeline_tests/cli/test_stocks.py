"""Stocks from the command line: one line with the fix for a missing or refused key, a plan, a ticker, a venue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.cli.commands.deployment import macro_given, stocks_given
from crypto_pipeline.healing import Deployment
from crypto_pipeline.market.instruments import find_symbol, one_spelling
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.universe import parse_universe
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.status import Stored
from crypto_pipeline.ops.supervision.programs import claim_ports, environment, given_settings, programs
from crypto_pipeline.ops.supervision.start.initial_instruments import chosen_instruments
from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.replay.massive.generated import GeneratedStocks
from crypto_pipeline.replay.massive.plans import Plan
from crypto_pipeline.replay.massive.tape import Stock
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues import collected_venues, make_venue
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]

MANY = {"MASSIVE_REQUESTS_PER_MINUTE": "60000"}
TEN = ("NVDA", "MSFT", "AAPL", "GOOGL", "AMZN", "META", "AVGO", "TSLA", "BRK-B", "JPM")


@pytest.fixture
def exchange(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplayExchange]:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    tape = GeneratedStocks([Stock(one, date(2024, 1, 2)) for one in ("AAPL", "BRK.B")])
    plans = {"good": Plan(), "old": Plan(expired=True)}
    options = {"now": datetime(2024, 7, 8, 15, tzinfo=UTC), "stocks": tape, "massive_plans": plans}
    with running_exchange("generated", instruments=1, **options) as running, Store(postgres_url):
        yield running


def universe(tmp_path: Path, venue: str) -> str:
    file = tmp_path / "universe.toml"
    file.write_text(f'[[group]]\ntier = "stock"\nasset_class = "stock"\nvenue = "{venue}"\nsymbols = ["AAPL"]\n')
    return str(file)


@pytest.mark.parametrize(
    ("arguments", "venue", "words"),
    [
        (["--venue", "massive"], "", "the venue massive needs a key: set CRYPTO_PIPELINE_MASSIVE_KEY"),
        (["--with-stocks", "--venue", "binance"], "", "the venue massive needs a key: set CRYPTO_PIPELINE_MASSIVE_KEY"),
        ([], "massive", "the venue massive needs a key: set CRYPTO_PIPELINE_MASSIVE_KEY"),
        ([], "mtgox", "universe, venue of AAPL: 'mtgox' is not a venue: use one of replay, binance, coinbase"),
        (["--with-stocks", "--instruments", "AAPPL"], "", "unknown symbol 'AAPPL': did you mean AAPL"),
    ],
)
def test_up_refuses_before_anything_starts(
    run: Run, tmp_path: Path, arguments: list[str], venue: str, words: str
) -> None:
    given = {"UNIVERSE_FILE": universe(tmp_path, venue)} if venue else {}
    code, out, err = run("up", *arguments, **given)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert words.lower() in err.lower()


@pytest.mark.parametrize(
    ("key", "symbol", "words"),
    [
        (
            "wrong",
            "AAPL",
            "Massive does not accept the key (Unknown API Key): set CRYPTO_PIPELINE_MASSIVE_KEY to",
        ),
        ("old", "AAPL", "the plan of this key does not include /v3/reference/tickers (Your plan has expired."),
        ("good", "AAPLX", "massive does not list 'AAPLX': did you mean AAPL"),
    ],
)
def test_what_the_venue_refuses_is_one_line_without_the_key(
    run: Run, exchange: ReplayExchange, key: str, symbol: str, words: str
) -> None:
    given = {"VENUE": "massive", "MASSIVE_URL": exchange.url, "MASSIVE_KEY": key, "REQUEST_ATTEMPTS": "1", **MANY}
    code, out, err = run("instruments", "add", symbol, **given)
    assert code != 0
    assert out == ""
    assert err.count("\n") == 1
    assert words.lower() in err.lower()
    assert "Traceback" not in err
    assert f"Bearer {key}" not in err


@pytest.mark.parametrize("spelling", ["BRK-B", "BRK.B", "brk.b", "BRK/B"])
def test_a_class_of_shares_has_one_name(run: Run, exchange: ReplayExchange, spelling: str) -> None:
    given = {"VENUE": "massive", "MASSIVE_URL": exchange.url, "MASSIVE_KEY": "good", **MANY}
    code, out, err = run("instruments", "add", spelling, **given)
    assert (code, out, err) == (0, "BRK-B added\n", "")
    assert run("instruments", "add", "BRK.B", **given)[1] == "BRK-B is collected already\n"
    assert run("instruments", "remove", spelling)[1].startswith("BRK-B is no longer collected")


def test_spellings() -> None:
    assert find_symbol("BRK.B", ["BRK-B", "AAPL"]) == find_symbol("brk/b", ["BRK-B"]) == "BRK-B"
    assert find_symbol("BRK-B", ["BRK.B"]) == "BRK.B"
    assert one_spelling("ETH.BTC") == "ETH.BTC", "a pair is no class of shares"
    group = '[[group]]\ntier = "stock"\nasset_class = "stock"\nsymbols = ["BRK.B", "BRK-B"]'
    with pytest.raises(ValueError, match=r"BRK-B is there twice, as BRK\.B too"):
        parse_universe(group)


def test_a_deployment_with_stocks_and_macro_series(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, replay_source="generated")
    added = stocks_given(settings) | macro_given(settings)
    settings = load_settings(
        data_dir=tmp_path, replay_source="generated", ui_port=0, replay_port=0, api_port=0, **added
    )
    assert collected_venues(settings) == ("replay", "massive")
    chosen = {one.symbol: one.venue for one in chosen_instruments(settings)}
    assert [name for name, venue in chosen.items() if venue == "massive"] == list(TEN)
    assert list(chosen.values()).count("replay") == 8
    ports = claim_ports(settings)
    names = [program.name for program in programs(settings, Places(tmp_path), ports)]
    assert {"replay", "ingest-0", "ingest-massive-0"} <= set(names)
    assert "replay-standby" not in names


def test_the_default_deployment_is_crypto_alone(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, replay_source="generated")
    assert collected_venues(settings) == ("replay",)
    assert {one.venue for one in chosen_instruments(settings)} == {"replay"}


@pytest.mark.parametrize(
    ("choice", "stocks"),
    [("20", TEN), ("BTC-USDT", TEN), ("BTC-USDT,AAPL,brk.b", ("AAPL", "BRK-B")), ("all", TEN)],
)
def test_which_stocks_are_collected_beside_crypto(choice: str, stocks: tuple[str, ...]) -> None:
    settings = Settings(replay_source="generated", stocks_venue="massive", massive_source="replay", instruments=choice)
    chosen = [one.symbol for one in chosen_instruments(settings) if one.venue == "massive"]
    assert sorted(chosen) == sorted(stocks)


def test_massive_alone_on_the_replay_has_its_exchange(tmp_path: Path) -> None:
    settings = load_settings(
        data_dir=tmp_path, replay_source="generated", venue="massive", massive_source="replay", ui_port=0, replay_port=0
    )
    assert collected_venues(settings) == ("massive",)
    assert settings.replayed
    assert "replay" in claim_ports(settings)


def test_a_key_is_passed_on_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Programs of a deployment got stars in place of the key."""
    monkeypatch.setenv("CRYPTO_PIPELINE_MASSIVE_KEY", "the-key")
    settings = load_settings(data_dir=tmp_path, replay_source="generated", venue="massive")
    given = given_settings(settings)
    Places(tmp_path).make()
    passed = environment(settings, Places(tmp_path), given, "postgresql://x/y")
    assert passed["CRYPTO_PIPELINE_MASSIVE_KEY"] == "the-key"
    assert not [name for name in given if "key" in name or "token" in name or "database_url" in name]
    assert make_venue(settings).http is not None


def test_a_stock_that_was_delisted_is_added_by_its_ticker_and_ends_there(
    run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OLDCO of the replay exchange, beside crypto as the first venue: it is in no universe and no longer listed."""
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    now = datetime(2025, 11, 28, 23, 10, 30, tzinfo=UTC)
    delisted, last = datetime(2025, 11, 16, tzinfo=UTC), date(2025, 11, 14)  # a Sunday, and the Friday before
    with running_exchange("generated", instruments=1, now=now, speed=0, weight_limit=0) as exchange:
        given = {"REPLAY_PORT": str(exchange.port), "STOCKS_VENUE": "massive", "MASSIVE_SOURCE": "replay"}
        with Store(postgres_url) as store:
            store.clock.learn("replay", now, rate=0.0)
            code, out, err = run("instruments", "add", "OLDCO", **given)
            assert (code, err) == (0, "")
            assert out == "OLDCO added; the venue does not let it trade now (delisted): its history is collected\n"
            # others that trade meanwhile tell a silent minute of it from an outage
            assert run("instruments", "add", "JPM", "MSFT", "AAPL", "AMZN", **given)[0] == 0
            assert {one.instrument.venue for one in store.instruments.list()} == {"massive"}
            assert "massive does not list 'NEVERCO'" in run("instruments", "add", "NEVERCO", **given)[2]
            options = {name.lower(): value for name, value in given.items()}
            settings = Settings(replay_source="generated", days=15, heal_backoff=0.001, **options)  # type: ignore[arg-type]
            failed = asyncio.run(collect(store, settings, now))
            assert failed == [], "the first venue has nothing that could be compared, which is no failure"
            minutes = store.reader.read(["OLDCO"], Timeframe.M1, now - timedelta(days=15), now)
            truth = exchange.massive.tape.minutes("OLDCO", now.date() - timedelta(days=15), now.date())
            opened = pl.from_epoch("t", "ms").dt.replace_time_zone("UTC")
            truth = truth.filter(opened >= now - timedelta(days=15))
            assert minutes.height > 300
            assert minutes["open_time"].to_physical().to_list() == truth["t"].to_list()
            # Friday's last extended hour is on Saturday in UTC
            assert minutes["open_time"].max().date() == last + timedelta(days=1)  # type: ignore[union-attr]
            for timeframe in (Timeframe.M1, Timeframe.H1, Timeframe.D1):
                holes = store.ledger.open(timeframe, ["OLDCO"])
                after = holes.filter(pl.col("start") >= delisted)
                assert after["state"].to_list() == ["delisted"]
                assert set(holes["state"]) <= {"no_trade", "delisted"}
            stored = Stored.read(store)
            assert {row["missing"] for row in stored.timeframes.values()} == {0}


async def collect(store: Store, settings: Settings, now: datetime) -> list[tuple[str, str]]:
    """Collect everything; gives the checks that fail, with what they say."""
    async with Deployment.open(store, settings) as deployment:
        await deployment.sync_instruments()
        for _ in range(2):  # what leaves out silent minutes is asked twice before that counts
            report = await deployment.backfill()
        assert not report.problems
        outcomes = [
            one
            for timeframe in (Timeframe.M5, Timeframe.D1)
            for one in await deployment.verify(timeframe, now - timedelta(days=15), now)
        ]
        return [(one.name, one.summary) for one in outcomes if not one.passed]
