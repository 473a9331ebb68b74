"""A server of Hummingbot as a broker, through its HTTP API.

Hummingbot gives orders ids of its own and takes none of ours. An order whose answer was lost is therefore looked for
by what it is: the instrument, the side, the kind, the quantity and the price, not older than it was stored here. Where
more than one fits, nobody can tell which is ours: it stays unknown, and no entry follows until a person has decided. It
knows no stops, so the desk compares prices itself: a position is protected only while the desk works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

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
    VenueState,
)

T = TypeVar("T")
#: Hummingbot's states; one that is not here has not ended.
_STATES: dict[str, VenueState] = {"FILLED": "filled", "CANCELLED": "cancelled", "FAILED": "rejected"}
#: Connectors whose orders cost nothing.
_PLAY = ("_paper_trade", "_testnet")
#: Seconds by which clocks may differ, and rows of one page.
_CLOCKS, _PAGE = 5.0, 200


class HummingbotBroker:
    """An account of a Hummingbot server. ``user`` and ``password`` are those of its API; ``connector`` its exchange.

    Raises BrokerError where the client is not installed.
    """

    def __init__(
        self,
        url: str,
        connector: str,
        user: str,
        password: str,
        *,
        account: str = "master_account",
        timeout: float = 5.0,
        name: str = "hummingbot",
    ) -> None:
        self.name, self.connector, self.account = name, connector, account
        self.traits = BrokerTraits(
            stops=False, pairs=False, real_money=not connector.endswith(_PLAY), settle_seconds=timeout
        )
        self._runner = asyncio.Runner()
        self._client = self._runner.run(_client(url, user, password, timeout))
        self._names: dict[str, str] = {}

    # Asking ---------------------------------------------------------------------------------------------------------

    def rules(self, instrument: str) -> MarketRules:
        """What the exchange demands of orders of this instrument."""
        pair = _pair(instrument)
        found = self._ask(lambda: self._client.connectors.get_trading_rules(self.connector, [pair]))
        if not isinstance(found, dict) or pair not in found:
            raise BrokerError(f"{self.connector} does not list {instrument}")
        row = found[pair]
        base, _, quote = pair.partition("-")
        return MarketRules(
            base,
            quote,
            _decimal(row["min_price_increment"]),
            _decimal(row["min_base_amount_increment"]),
            _decimal(row["min_order_size"]),
            _decimal(row["min_notional_size"]),
        )

    def price(self, instrument: str) -> Decimal:
        """The last traded price."""
        pair = _pair(instrument)
        found = self._ask(lambda: self._client.market_data.get_prices(self.connector, pair))
        try:
            return _decimal(found["prices"][pair])
        except (KeyError, TypeError):
            raise BrokerError(f"{self.connector} states no price of {instrument}") from None

    def balances(self) -> Mapping[str, Decimal]:
        """Each asset, free and held by orders together."""
        found = self._ask(
            lambda: self._client.portfolio.get_state([self.account], [self.connector], skip_gateway=True, refresh=True)
        )
        rows = (found.get(self.account) or {}).get(self.connector) or []
        return {str(row["token"]): _decimal(row["units"]) for row in rows}

    def open_orders(self) -> Mapping[str, VenueOrder]:
        """Open orders that this process knows: Hummingbot does not know which are ours."""
        rows = self._rows(
            lambda **page: self._client.trading.get_active_orders([self.account], [self.connector], **page)
        )
        return {
            self._names[row["order_id"]]: _venue_order(row, self._names[row["order_id"]])
            for row in rows
            if row["order_id"] in self._names
        }

    def find(self, order: BrokerOrder) -> VenueOrder | None:
        """The order by Hummingbot's id, or by what it is. Raises BrokerError where more than one fits."""
        pairs = [_pair(order.instrument)]
        rows = {
            str(row["order_id"]): row
            for ask in (self._client.trading.search_orders, self._client.trading.get_active_orders)
            for row in self._rows(lambda ask=ask, **page: ask([self.account], [self.connector], pairs, **page))
        }
        if order.venue_id:
            self._names[order.venue_id] = order.client_id
            return _venue_order(rows[order.venue_id], order.client_id) if order.venue_id in rows else None
        known = self._names.keys() - {name for name, client in self._names.items() if client == order.client_id}
        fitting = [row for name, row in rows.items() if name not in known and _fits(row, order)]
        if len(fitting) > 1:
            raise BrokerError(f"{len(fitting)} orders of {order.instrument} may be {order.client_id}: a person decides")
        if not fitting:
            return None
        self._names[str(fitting[0]["order_id"])] = order.client_id
        return _venue_order(fitting[0], order.client_id)

    def fills(self, order: BrokerOrder) -> Sequence[VenueFill]:
        """All fills of an order, each once."""
        pairs = [_pair(order.instrument)]
        rows = self._rows(
            lambda **page: self._client.trading.get_trades([self.account], [self.connector], pairs, **page)
        )
        found = {str(row["trade_id"]): _venue_fill(row) for row in rows if row["order_id"] == order.venue_id}
        return list(found.values())

    # Sending --------------------------------------------------------------------------------------------------------

    def submit(self, order: BrokerOrder) -> VenueOrder:
        """Send an order. Raises OrderRejected, OrderNotSent or OrderUnanswered."""
        http = _http()
        if order.kind == "protection":
            raise OrderRejected("Hummingbot knows no stops")
        try:
            row = self._runner.run(
                self._client.trading.place_order(
                    self.account,
                    self.connector,
                    _pair(order.instrument),
                    order.side.upper(),
                    float(order.quantity),
                    order_type=order.kind.upper(),
                    price=None if order.price is None else float(order.price),
                )
            )
            number = str(row["order_id"])
        except http.ClientConnectorError as error:
            raise OrderNotSent(_line(error)) from None
        except http.ClientResponseError as error:
            kind = OrderRejected if 400 <= error.status < 500 else OrderUnanswered
            raise kind(_line(error)) from None
        except (http.ClientError, TimeoutError, OSError, KeyError, TypeError, ValueError) as error:
            raise OrderUnanswered(_line(error)) from None
        self._names[number] = order.client_id
        return VenueOrder(order.client_id, "open", Decimal(0), number, instrument=order.instrument)

    def cancel(self, order: BrokerOrder) -> None:
        """Cancel an order; whether it was open still is asked afterwards."""
        try:
            self._runner.run(self._client.trading.cancel_order(self.account, self.connector, order.venue_id or ""))
        except _http().ClientResponseError:
            return  # it has ended, or is asked for next
        except Exception as error:
            raise BrokerError(f"hummingbot: {_line(error)}") from None

    def close(self) -> None:
        """Close connections."""
        self._runner.run(self._client.close())
        self._runner.close()

    def _ask(self, make: Callable[[], Awaitable[T]]) -> T:
        async def asked() -> T:
            return await make()

        try:
            return self._runner.run(asked())
        except Exception as error:
            raise BrokerError(f"hummingbot: {_line(error)}") from None

    def _rows(self, ask: Callable[..., Awaitable[Any]]) -> list[dict[str, Any]]:
        """All rows of a paged answer."""
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self._ask(lambda cursor=cursor: ask(limit=_PAGE, cursor=cursor))  # type: ignore[misc]
            if not isinstance(page, dict) or not isinstance(page.get("data"), list):
                raise BrokerError(f"hummingbot: an answer without rows: {str(page)[:100]!r}")
            rows += page["data"]
            cursor = (page.get("pagination") or {}).get("next_cursor")
            if cursor is None:
                return rows


def _http() -> Any:
    """What the client sends its requests with: its errors are those of that."""
    from hummingbot_api_client import client

    return client.aiohttp


async def _client(url: str, user: str, password: str, seconds: float) -> Any:
    try:
        from hummingbot_api_client import HummingbotAPIClient
    except ModuleNotFoundError:
        raise BrokerError(
            "hummingbot-api-client is not installed: `pip install 'crypto-pipeline[hummingbot]'`"
        ) from None
    client = HummingbotAPIClient(url, user, password, timeout=_http().ClientTimeout(total=seconds))
    await client.init()
    return client


def _pair(instrument: str) -> str:
    return instrument.partition("@")[0]


def _decimal(value: Any) -> Decimal:
    return Decimal(0) if value is None else Decimal(str(value))


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _time(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _fits(row: Mapping[str, Any], order: BrokerOrder) -> bool:
    same = row["trade_type"] == order.side.upper() and row["order_type"] == order.kind.upper()
    limit = order.kind != "limit" or _decimal(row["price"]) == order.price
    recent = _time(row["created_at"]) >= order.queued_at - _CLOCKS
    return same and limit and recent and _decimal(row["amount"]) == order.quantity


def _venue_order(row: Mapping[str, Any], client_id: str) -> VenueOrder:
    state = _STATES.get(str(row["status"]), "open")
    return VenueOrder(
        client_id, state, _decimal(row["filled_amount"]), str(row["order_id"]), instrument=str(row["trading_pair"])
    )


def _venue_fill(row: Mapping[str, Any]) -> VenueFill:
    return VenueFill(
        str(row["trade_id"]),
        "buy" if row["trade_type"] == "BUY" else "sell",
        _decimal(row["price"]),
        _decimal(row["amount"]),
        _decimal(row["fee_paid"]),
        str(row["fee_currency"]),
        datetime.fromtimestamp(_time(row["timestamp"]), UTC),
    )
