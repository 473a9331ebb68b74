"""Any exchange of ccxt as a broker, on its spot market.

On Binance a stop and a take profit rest together as an order list (OCO). Elsewhere only the stop rests, where ccxt says
that the exchange takes one, and the desk compares the price with the take profit. Requests go nowhere but to the
exchange's address: one to another host is refused here, whatever ccxt thinks of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlsplit

from crypto_pipeline.trading.brokers.ccxt_rows import (
    ccxt_symbol,
    decimal_of,
    merged_pair,
    one_line,
    venue_fill,
    venue_order,
)
from crypto_pipeline.trading.brokers.client_ids import PREFIX
from crypto_pipeline.trading.brokers.opt_in import is_this_machine
from crypto_pipeline.trading.brokers.port import (
    BrokerError,
    BrokerOrder,
    BrokerTraits,
    MarketRules,
    OrderNotSent,
    OrderRejected,
    OrderUnanswered,
    VenueFill,
    VenueOrder,
)
from crypto_pipeline.venues.ccxt.package import synchronous_class

T = TypeVar("T")
#: Endings of the client ids of a pair's two orders: the take profit and the stop.
_TARGET, _STOP = "t", "s"


class CcxtBroker:
    """An account at the ccxt exchange ``exchange_name``.

    ``url`` is the address of an exchange with Binance's interface, such as the replay exchange, in the place of the
    real one; on this machine alone no real money moves. ``window_ms``: so long a signed order is valid. Raises
    BrokerError where ccxt is not installed or has no such exchange.
    """

    def __init__(
        self,
        exchange_name: str,
        key: str,
        secret: str,
        *,
        url: str | None = None,
        timeout: float = 1.0,
        window_ms: int = 1000,
        name: str | None = None,
    ) -> None:
        self.name = name or f"ccxt_{exchange_name}"
        self.exchange = _exchange(exchange_name, key, secret, url, timeout, window_ms)
        self._has_pairs = exchange_name in ("binance", "binanceus")
        self.traits = BrokerTraits(
            stops=self._has_pairs or _takes_stops(self.exchange),
            pairs=self._has_pairs,
            real_money=url is None or not is_this_machine(url),
            settle_seconds=window_ms / 1000 + 0.1,
            refuses_doubles=self._has_pairs,
        )

    # Asking ---------------------------------------------------------------------------------------------------------

    def rules(self, instrument: str) -> MarketRules:
        """What the exchange demands of orders of this instrument."""
        self._ask(self.exchange.load_markets)
        try:
            market = self.exchange.market(ccxt_symbol(instrument))
        except Exception as error:
            raise BrokerError(f"{self.name} does not list {instrument}: {one_line(error)}") from None
        limits = market["limits"]
        return MarketRules(
            market["base"],
            market["quote"],
            decimal_of(market["precision"]["price"]),
            decimal_of(market["precision"]["amount"]),
            decimal_of(limits["amount"].get("min")),
            decimal_of(limits["cost"].get("min")),
        )

    def price(self, instrument: str) -> Decimal:
        """The close of the newest minute."""
        rows = self._ask(self.exchange.fetch_ohlcv, ccxt_symbol(instrument), "1m", None, 1)
        if not rows:
            raise BrokerError(f"{self.name} states no price of {instrument}")
        return decimal_of(rows[-1][4])

    def balances(self) -> Mapping[str, Decimal]:
        """Each asset with what is free and what orders hold."""
        total: Mapping[str, Any] = self._ask(self.exchange.fetch_balance)["total"]
        return {asset: decimal_of(amount) for asset, amount in total.items() if amount}

    def open_orders(self) -> Mapping[str, VenueOrder]:
        """Open orders of ours, pairs as one."""
        self._ask(self.exchange.load_markets)
        self.exchange.options["warnOnFetchOpenOrdersWithoutSymbol"] = False
        legs: dict[str, list[VenueOrder]] = {}
        for row in self._ask(self.exchange.fetch_open_orders):
            name = str(row.get("clientOrderId") or "")
            if name.startswith(PREFIX):
                key = name[:-2] if name.endswith(("-" + _TARGET, "-" + _STOP)) else name
                legs.setdefault(key, []).append(venue_order(row))
        return {name: merged_pair(name, rows) for name, rows in legs.items()}

    def find(self, order: BrokerOrder) -> VenueOrder | None:
        """What the exchange knows of an order by its id."""
        if not self._is_pair(order):
            return self._find(order.instrument, order.client_id)
        legs = [self._find(order.instrument, f"{order.client_id}-{leg}") for leg in (_TARGET, _STOP)]
        found = [leg for leg in legs if leg is not None]
        return merged_pair(order.client_id, found, order.quantity) if found else None

    def _find(self, instrument: str, client_id: str) -> VenueOrder | None:
        from ccxt.base.errors import OrderNotFound

        self._ask(self.exchange.load_markets)
        try:
            row = self._call(self.exchange.fetch_order, None, ccxt_symbol(instrument), {"clientOrderId": client_id})
            return venue_order(row)
        except OrderNotFound:
            return None
        except Exception as error:
            raise self._trouble(error) from None

    def fills(self, order: BrokerOrder) -> Sequence[VenueFill]:
        """All fills of an order, each once."""
        found: dict[str, VenueFill] = {}
        for number in (order.venue_id or "").split(","):
            if number:
                for row in self._ask(
                    self.exchange.fetch_my_trades, ccxt_symbol(order.instrument), None, 1000, {"orderId": number}
                ):
                    if str(row["order"]) == number:
                        found[str(row["id"])] = venue_fill(row)
        return list(found.values())

    # Sending --------------------------------------------------------------------------------------------------------

    def submit(self, order: BrokerOrder) -> VenueOrder:
        """Send an order. Raises OrderRejected, OrderNotSent or OrderUnanswered."""
        from ccxt.base import errors

        self._before_sending()
        self.exchange.claimed_at = order.claimed_at
        try:
            return self._submit(order)
        except errors.InvalidNonce as error:
            self._set_clock()
            raise OrderNotSent(one_line(error)) from None
        except (errors.RateLimitExceeded, errors.DDoSProtection) as error:
            raise OrderNotSent(one_line(error)) from None
        except (errors.NetworkError, errors.BadResponse, errors.OperationFailed) as error:
            raise OrderUnanswered(one_line(error)) from None
        except errors.ExchangeError as error:
            if "Duplicate order" in str(error):  # an earlier attempt arrived
                raise OrderUnanswered(one_line(error)) from None
            if type(error) is errors.ExchangeError:  # a code that ccxt does not know
                raise OrderUnanswered(one_line(error)) from None
            raise OrderRejected(one_line(error)) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # what cannot be read was answered, so it may have been booked
            raise OrderUnanswered(f"unreadable answer: {one_line(error)}") from None
        finally:
            self.exchange.claimed_at = None

    def _before_sending(self) -> None:
        try:
            self._ask(self.exchange.load_markets)
        except BrokerError as error:
            raise OrderNotSent(str(error)) from None

    def _submit(self, order: BrokerOrder) -> VenueOrder:
        symbol, amount = ccxt_symbol(order.instrument), float(order.quantity)
        if self._is_pair(order):
            return self._submit_pair(order)
        values: dict[str, Any] = {"clientOrderId": order.client_id}
        if order.kind == "protection":
            values["stopLossPrice"] = float(order.stop_price or 0)
        kind = "limit" if order.kind == "limit" else "market"
        price = float(order.price) if order.price is not None and kind == "limit" else None
        row = self.exchange.create_order(symbol, kind, order.side, amount, price, values)
        made = venue_order(row)
        return replace(made, client_id=order.client_id, stop_rests=order.kind == "protection" and made.state == "open")

    def _submit_pair(self, order: BrokerOrder) -> VenueOrder:
        exchange, symbol = self.exchange, ccxt_symbol(order.instrument)
        row = exchange.privatePostOrderListOco(
            {
                "symbol": exchange.market_id(symbol),
                "side": "SELL",
                "quantity": exchange.amount_to_precision(symbol, float(order.quantity)),
                "listClientOrderId": order.client_id,
                "aboveType": "LIMIT_MAKER",
                "abovePrice": exchange.price_to_precision(symbol, float(order.price or 0)),
                "aboveClientOrderId": f"{order.client_id}-{_TARGET}",
                "belowType": "STOP_LOSS",
                "belowStopPrice": exchange.price_to_precision(symbol, float(order.stop_price or 0)),
                "belowClientOrderId": f"{order.client_id}-{_STOP}",
            },
        )
        market = exchange.market(symbol)
        legs = [venue_order(exchange.parse_order(one, market)) for one in row["orderReports"]]
        return merged_pair(order.client_id, legs, order.quantity)

    def cancel(self, order: BrokerOrder) -> None:
        """Cancel an order; whether it was open still is asked afterwards."""
        from ccxt.base import errors

        self._ask(self.exchange.load_markets)
        symbol = ccxt_symbol(order.instrument)
        try:
            if self._is_pair(order):
                values = {"symbol": self.exchange.market_id(symbol), "listClientOrderId": order.client_id}
                self._call(self.exchange.privateDeleteOrderList, values)
            else:
                self._call(self.exchange.cancel_order, None, symbol, {"clientOrderId": order.client_id})
        except (errors.OrderNotFound, errors.InvalidOrder):
            return
        except errors.NetworkError:
            return  # it is asked for next
        except Exception as error:
            raise self._trouble(error) from None

    def close(self) -> None:
        """Close connections."""
        self.exchange.session.close()

    # Calling --------------------------------------------------------------------------------------------------------

    def _is_pair(self, order: BrokerOrder) -> bool:
        return self._has_pairs and order.kind == "protection" and order.price is not None

    def _ask(self, method: Callable[..., T], *arguments: Any) -> T:
        try:
            return self._call(method, *arguments)
        except Exception as error:
            raise self._trouble(error) from None

    def _call(self, method: Callable[..., T], *arguments: Any) -> T:
        """Make a request. One that is refused for its time was not executed: it is sent again by the venue's time."""
        from ccxt.base.errors import InvalidNonce

        try:
            return method(*arguments)
        except InvalidNonce:
            self._set_clock()
            return method(*arguments)

    def _trouble(self, error: Exception) -> BrokerError:
        return error if isinstance(error, BrokerError) else BrokerError(f"{self.name}: {one_line(error)}")

    def _set_clock(self) -> None:
        """Take the exchange's time for the next requests: it refused ours."""
        try:
            self.exchange.load_time_difference()
        except Exception as error:
            raise OrderNotSent(f"{self.name} states no time: {one_line(error)}") from None


def _exchange(name: str, key: str, secret: str, url: str | None, timeout: float, window_ms: int) -> Any:
    try:
        kind = synchronous_class(name)
    except ModuleNotFoundError as error:
        if error.name == "ccxt":
            raise BrokerError("ccxt is not installed: `pip install 'crypto-pipeline[ccxt]'`") from None
        raise BrokerError(f"ccxt has no exchange {name!r}: see `crypto-pipeline venues list`") from None
    exchange = _guarded(kind)(
        {
            "apiKey": key,
            "secret": secret,
            "timeout": int(timeout * 1000),
            "enableRateLimit": url is None,
            "options": {
                "defaultType": "spot",
                "fetchCurrencies": False,
                "fetchMargins": False,
                "fetchMarkets": {"types": ["spot"]},
                "adjustForTimeDifference": True,
                "recvWindow": window_ms,
            },
        }
    )
    if url is not None:
        for part in ("public", "private"):
            exchange.urls["api"][part] = f"{url.rstrip('/')}/api/v3"
        exchange.session.trust_env = False
    exchange.only_hosts = {urlsplit(exchange.urls["api"][part]).netloc for part in ("public", "private")} - {""}
    return exchange


def _guarded(kind: Any) -> Any:
    class Guarded(kind):  # type: ignore[misc]
        """The exchange, which sends nothing to a host that is not its own, and stamps orders with their claim."""

        only_hosts: frozenset[str] | set[str] = frozenset()
        claimed_at: float | None = None

        def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
            host = urlsplit(url).netloc
            if self.only_hosts and host not in self.only_hosts:
                raise BrokerError(f"a request to {host} was not sent: it is not the address of this exchange")
            return super().fetch(url, method, headers, body)

        def nonce(self) -> Any:
            if self.claimed_at is None:
                return super().nonce()
            return int(self.claimed_at * 1000) - int(self.options.get("timeDifference") or 0)

    return Guarded


def _takes_stops(exchange: Any) -> bool:
    return bool(((exchange.features or {}).get("spot") or {}).get("createOrder", {}).get("stopLossPrice"))
