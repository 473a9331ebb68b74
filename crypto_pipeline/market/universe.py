"""The universe: the instruments to choose from, and the choice that a person makes among them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crypto_pipeline.market.instruments import AssetClass, Instrument, Tier, find_symbol, name_at, one_spelling
from crypto_pipeline.market.near_names import did_you_mean, near_names

_FIX = "add it to a universe file of your own (CRYPTO_PIPELINE_UNIVERSE_FILE)"


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tier: Tier
    asset_class: AssetClass = AssetClass.CRYPTO
    quote: str | None = None
    venue: str | None = None
    calendar: str = "24/7"
    by_name_only: bool = False
    failover: list[str] = Field(default_factory=list)
    symbols: list[str]


class _Universe(BaseModel):
    model_config = ConfigDict(extra="forbid")

    group: list[_Group] = Field(min_length=1)
    venue_symbols: dict[str, dict[str, str]] = Field(default_factory=dict)
    failover: dict[str, list[str]] = Field(default_factory=dict)


def load_universe(path: Path | None = None) -> list[Instrument]:
    """The universe in the file ``path``; the one in the package when None. Raises ValueError in one clear line."""
    if path is None:
        return parse_universe(resources.files("crypto_pipeline").joinpath("universe.toml").read_text("utf-8"))
    try:
        return parse_universe(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the universe file {path}: {error}") from error


def parse_universe(toml_text: str) -> list[Instrument]:
    """The instruments of a universe file, in its order. Raises ValueError that names what is wrong."""
    try:
        universe = _Universe.model_validate(tomllib.loads(toml_text))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"universe, {where}: {problem['msg']} (there is {problem['input']!r})") from None
    instruments: dict[str, Instrument] = {}
    spelled: dict[str, str] = {}
    for group in universe.group:
        for text in group.symbols:
            instrument = _instrument(text, group, universe)
            first = instruments.get(instrument.symbol)
            if first is not None and group.venue is not None and group.venue != first.venue:
                instrument = instrument.model_copy(update={"symbol": name_at(instrument.symbol, group.venue)})
            stock = instrument.asset_class is AssetClass.STOCK
            spelling = one_spelling(instrument.symbol) if stock else instrument.symbol
            if (same := spelled.get(spelling)) is not None:
                as_well = "" if same == instrument.symbol else f", as {same} too"
                raise ValueError(f"universe: {instrument.symbol} is there twice{as_well}")
            spelled[spelling] = instrument.symbol
            instruments[instrument.symbol] = instrument
    for venue, names in universe.venue_symbols.items():
        if strangers := [name for name in names if name not in instruments]:
            raise ValueError(f"universe, venue_symbols.{venue}: {strangers[0]!r} is in no group")
    if strangers := [name for name in universe.failover if name not in instruments]:
        raise ValueError(f"universe, failover: {strangers[0]!r} is in no group")
    return list(instruments.values())


def choose_instruments(
    universe: Sequence[Instrument],
    choice: str,
    *,
    asset_class: AssetClass | None = AssetClass.CRYPTO,
    known: Iterable[str] = (),
) -> list[Instrument]:
    """The chosen instruments of ``asset_class`` (None: of any): a number N (the first N), ``all``, or a list of names.

    Instruments of a group that names its venue are offered whatever their class. Pairs in ``known`` (what a venue
    lists, say) may be named although the universe does not have them. Raises ValueError naming the bad symbol and the
    nearest matches.
    """
    wanted = choice.strip()
    offered = [one for one in universe if one.venue is not None or asset_class in (None, one.asset_class)]
    default = [one for one in offered if not one.by_name_only]
    if wanted.lower() == "all":
        return default
    if wanted.lstrip("+-").isdigit():
        if not 1 <= int(wanted) <= len(default):
            raise ValueError(
                f"cannot choose {wanted} instruments: the universe has {len(default)}, ask for 1 to that many"
            )
        return default[: int(wanted)]
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if not names:
        raise ValueError(f"no instruments in {choice!r}: use a number, 'all', or a list such as BTC-USDT,ETH-USDT")
    by_name = {one.symbol: one for one in offered}
    others = {one.symbol: one for one in universe}
    extra = set(known)
    chosen: dict[str, Instrument] = {}
    for text in names:
        name = find_symbol(text, [*by_name, *(extra - by_name.keys())])
        if name is None:
            raise ValueError(_refusal(find_symbol(text, others) or text, by_name, others, extra))
        chosen[name] = by_name.get(name) or Instrument.crypto(name)
    return list(chosen.values())


def _instrument(text: str, group: _Group, universe: _Universe) -> Instrument:
    quote = group.quote or ("USDT" if group.asset_class is AssetClass.CRYPTO else "USD")
    if group.asset_class is AssetClass.CRYPTO:
        symbol = text if "-" in text else f"{text}-{quote}"
        base, _, quote = symbol.partition("-")
    else:
        symbol = base = text
    fields: dict[str, Any] = {
        "asset_class": group.asset_class,
        "venue": group.venue,
        "tier": group.tier,
        "calendar": group.calendar,
        "by_name_only": group.by_name_only,
        "failover": tuple(universe.failover.get(symbol, group.failover)),
        "venue_symbols": {venue: names[symbol] for venue, names in universe.venue_symbols.items() if symbol in names},
    }
    try:
        return Instrument(symbol=symbol, base=base, quote=quote, **fields)
    except ValidationError:
        raise ValueError(f"universe: {text!r} is no symbol: write BTC, BTC-USDT or a ticker") from None


def _refusal(name: str, offered: Iterable[str], others: dict[str, Instrument], known: set[str]) -> str:
    if name in others:
        return f"{name} is a {others[name].asset_class} instrument: this venue does not trade it"
    symbols = [*offered, *sorted(known)]
    typed, name = name, name.upper()
    # Names without a quote, or with another separator, are the most frequent mistakes; similar names come after.
    base = name.replace("/", "-").replace("_", "-").partition("-")[0]
    joined = [symbol for symbol in symbols if symbol.replace("-", "") == name.replace("/", "").replace("_", "")]
    same_base = [symbol for symbol in symbols if symbol.partition("-")[0] == base]
    near = list(dict.fromkeys([*joined, *same_base, *near_names(name, symbols)]))[:3]
    hint = f"{did_you_mean(near)} Otherwise {_FIX}" if near else f"write BASE-QUOTE, or {_FIX}"
    return f"unknown symbol {typed!r}: {hint}"
