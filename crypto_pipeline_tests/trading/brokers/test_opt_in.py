"""Real money: only what a person types turns it on; no setting, no file and no variable of the environment does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from crypto_pipeline.cli.app import app
from crypto_pipeline.settings import Settings
from crypto_pipeline.trading.brokers.ccxt_exchange import CcxtBroker
from crypto_pipeline.trading.brokers.opt_in import (
    KEY_VARIABLE,
    PHRASE,
    SECRET_VARIABLE,
    is_this_machine,
    keys_of,
    require_opt_in,
)
from crypto_pipeline.trading.brokers.port import BrokerError
from crypto_pipeline.trading.brokers.registry import make_broker
from crypto_pipeline.trading.stored.order_desk import OrderDesk

KEYS = {KEY_VARIABLE: "key", SECRET_VARIABLE: "secret"}


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8765", True), ("http://[::1]:8765", True), ("localhost:1", True),
        ("https://api.binance.com", False), ("http://10.0.0.1", False), ("http://localhost.example.com", False),
        ("http://127.0.0.1@api.binance.com", False), ("", False),
    ],
)  # fmt: skip
def test_what_is_this_machine(url: str, here: bool) -> None:
    assert is_this_machine(url) is here


@pytest.mark.parametrize("url", [None, "https://api.binance.com", "http://10.0.0.1:80"])
@pytest.mark.parametrize("typed", [None, "", "yes", "i-understand", "I-understand "])
def test_without_the_phrase_there_is_no_desk(url: str | None, typed: str | None) -> None:
    broker = CcxtBroker("binance", "key", "secret", url=url)
    with pytest.raises(BrokerError, match=f"--live {PHRASE}"):
        require_opt_in(broker, typed)
    outbox: Any = None
    with pytest.raises(BrokerError, match="real money"):
        OrderDesk(outbox, broker, lambda: datetime(2026, 1, 1, tzinfo=UTC), opt_in=typed)
    require_opt_in(broker, PHRASE)
    broker.close()


@pytest.mark.parametrize("missing", [KEY_VARIABLE, SECRET_VARIABLE])
def test_keys_come_from_the_environment_alone(missing: str) -> None:
    with pytest.raises(BrokerError, match="stand in no file"):
        keys_of(KEYS | {missing: ""})
    assert not [name for name in Settings.model_fields if "secret" in name and "broker" in name]
    with pytest.raises(BrokerError, match="stand in no file"):
        make_broker("ccxt_binance", None, "", {})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("paper", "nobody to send them to"),
        ("binance", "ccxt_binance"),
        ("ccxt_nonesuch", "ccxt has no exchange"),
    ],
)
def test_a_wrong_name_is_one_line(name: str, said: str) -> None:
    with pytest.raises(BrokerError, match=said):
        make_broker(name, None, "", KEYS)


def test_no_variable_of_the_environment_opts_in(tmp_path: Path) -> None:
    variables = KEYS | {
        "CRYPTO_PIPELINE_BROKER": "ccxt_binance",
        "CRYPTO_PIPELINE_LIVE": PHRASE,
        "CRYPTO_PIPELINE_RUN_LIVE": PHRASE,
        "CRYPTO_PIPELINE_BROKER_RUN_LIVE": PHRASE,
        "CRYPTO_PIPELINE_BROKER_LIVE": PHRASE,
    }
    ran = CliRunner().invoke(app, ["broker", "run", "--data-dir", str(tmp_path)], env=variables)
    assert ran.exit_code != 0
    assert "real money" in str(ran.exception) or "real money" in ran.output
