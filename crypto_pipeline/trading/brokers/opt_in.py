"""What turns real money on: a person who types it, a key in the environment, a comparison that passed.

Nothing else does: no setting, file or stored row is looked at here. A broker on this machine (the
replay exchange, a stub) moves no money.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from crypto_pipeline.trading.brokers.port import Broker, BrokerError

#: What a person types to trade with real money.
PHRASE = "I-understand"
KEY_VARIABLE, SECRET_VARIABLE = "CRYPTO_PIPELINE_BROKER_KEY", "CRYPTO_PIPELINE_BROKER_SECRET"


def is_this_machine(url: str) -> bool:
    """Whether an address is one of this machine alone."""
    host = urlsplit(url if "//" in url else f"//{url}").hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def keys_of(environment: Mapping[str, str]) -> tuple[str, str]:
    """Key and secret of the account. Raises BrokerError where the environment has none."""
    key, secret = environment.get(KEY_VARIABLE, ""), environment.get(SECRET_VARIABLE, "")
    if not key or not secret:
        raise BrokerError(f"set {KEY_VARIABLE} and {SECRET_VARIABLE} in the environment: they stand in no file")
    return key, secret


def require_opt_in(broker: Broker, typed: str | None) -> None:
    """Raise BrokerError where a broker moves real money and no person typed that they want it."""
    if broker.traits.real_money and typed != PHRASE:
        said = "" if typed is None else f" (got {typed!r})"
        raise BrokerError(f"{broker.name} trades with real money: type `--live {PHRASE}`{said}, or use a paper account")
