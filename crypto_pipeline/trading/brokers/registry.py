"""Brokers by name: ``paper`` (the default), ``ccxt_NAME`` and ``hummingbot``."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from crypto_pipeline.trading.brokers.opt_in import keys_of
from crypto_pipeline.trading.brokers.port import Broker, BrokerError

#: The broker of no orders: the ledger itself is the account.
PAPER_BROKER = "paper"


def broker_name(name: str, url: str | None, connector: str) -> str:
    """What hand-overs to this broker stand under: those of a replay exchange are never carried out at the real one."""
    place = "" if url is None else f"@{urlsplit(url if '//' in url else f'//{url}').netloc}"
    return f"{name}:{connector}{place}" if name == "hummingbot" else name + place


def make_broker(name: str, url: str | None, connector: str, environment: Mapping[str, str]) -> Broker:
    """The broker called ``name``; its keys are taken from ``environment``.

    ``url``: address of an exchange in the place of the real one, or of Hummingbot's API. ``connector``: Hummingbot's
    name of the exchange. Raises BrokerError in one line with the fix.
    """
    if name.startswith("ccxt_"):
        from crypto_pipeline.trading.brokers.ccxt_exchange import CcxtBroker

        own = broker_name(name, url, connector)
        return CcxtBroker(name.removeprefix("ccxt_"), *keys_of(environment), url=url, name=own)
    if name == "hummingbot":
        from crypto_pipeline.trading.brokers.hummingbot import HummingbotBroker

        own = broker_name(name, url, connector)
        return HummingbotBroker(url or "http://127.0.0.1:8000", connector, *keys_of(environment), name=own)
    if name == PAPER_BROKER:
        raise BrokerError("the broker is `paper`: the ledger fills its orders, and there is nobody to send them to")
    raise BrokerError(f"unknown broker {name!r}: use paper, ccxt_NAME (such as ccxt_binance) or hummingbot")
