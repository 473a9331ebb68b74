"""``broker``: what is wrong is one line, the state is shown, a comparison with the exchange finds what differs."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from crypto_pipeline.replay import running_exchange
from crypto_pipeline.replay.server.accounts.desk import DEFAULT_KEY, DEFAULT_SECRET
from crypto_pipeline.store import Store
from crypto_pipeline.trading.brokers.opt_in import KEY_VARIABLE, SECRET_VARIABLE
from crypto_pipeline_tests.builders.bars import add_symbols
from crypto_pipeline_tests.builders.order_desk import BROKER, desk, position
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]
KEYS = {KEY_VARIABLE: DEFAULT_KEY, SECRET_VARIABLE: DEFAULT_SECRET}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "the broker is `paper`"),
        ({"CRYPTO_PIPELINE_BROKER": "binance"}, "unknown broker 'binance': use paper, ccxt_NAME"),
        ({"CRYPTO_PIPELINE_BROKER": "ccxt_binance"}, f"set {KEY_VARIABLE} and {SECRET_VARIABLE}"),
        ({"CRYPTO_PIPELINE_BROKER": "ccxt_binance", **KEYS}, "trades with real money: type `--live I-understand`"),
    ],
)
def test_what_is_missing_is_one_line(run: Run, variables: dict[str, str], said: str) -> None:
    short = {name.removeprefix("CRYPTO_PIPELINE_"): value for name, value in variables.items()}
    code, _, err = run("broker", "run", **short)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err


def test_status_check_and_close(run: Run, postgres_url: str) -> None:
    with (
        running_exchange(
            now=datetime(2026, 11, 21, 9, 30, tzinfo=UTC), speed=0, weight_limit=0, instruments=1
        ) as venue,
        Store(postgres_url) as store,
    ):
        add_symbols(store)
        name = f"{BROKER}@127.0.0.1:{venue.port}"
        store.trading.outbox.put(position(venue, broker=name))
        store.trading.outbox.put(position(venue))
        with desk(store, venue, name=name) as working:
            working.recover()
            for _ in range(3):
                working.step()
        own = {"DATABASE_URL": postgres_url, "BROKER": BROKER, "BROKER_URL": venue.url}
        own |= {name.removeprefix("CRYPTO_PIPELINE_"): value for name, value in KEYS.items()}
        code, out, err = run("broker", "check", **own)
        assert (code, out, err) == (0, f"{name}: no difference\n", "")
        code, out, _ = run("broker", "status", "--json", **own)
        shown = json.loads(out)
        assert shown["orders"] == {"filled": 1, "open": 1}
        assert shown["comparison"]["passed"] is True
        assert "1 open positions" in run("broker", "status", **own)[1]
        holder = venue.accounts.accounts[DEFAULT_KEY]
        holder.wallet.of("BTC").locked -= 1
        code, out, _ = run("broker", "check", **own)
        assert code == 1
        assert out.startswith("BTC: the venue holds")
        assert run("broker", "close", "--reason", "a test", **own)[1] == "1 positions are to be sold\n"
        assert [one.reason for one in store.trading.outbox.handovers(name)] == ["a test"]
        assert [one.reason for one in store.trading.outbox.handovers(BROKER)] == [None], "of another exchange"
