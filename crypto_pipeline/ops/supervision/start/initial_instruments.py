"""The instruments that a new deployment collects."""

from __future__ import annotations

from collections.abc import Sequence

from crypto_pipeline.defaults import REPLAY
from crypto_pipeline.market.instruments import AssetClass, Instrument, plain_name
from crypto_pipeline.market.universe import choose_instruments
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.supervision.start.recordings import MASSIVE, recorded_stocks
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues import collected_venues, offered_instruments, require_keys, traits_of

_STOCK = AssetClass.STOCK


def chosen_instruments(settings: Settings) -> list[Instrument]:
    """The instruments that the settings choose, each with its venue.

    Raises OpsError for an unknown symbol and names the nearest known one.

    On a replay of recordings, every recorded pair may be chosen; without a choice all of them are collected.
    """
    universe = _universe(settings)
    recorded = _recorded(settings)
    if recorded and settings.instruments is None:
        by_name = {instrument.symbol: instrument for instrument in universe}
        pairs = [by_name.get(symbol) or Instrument.crypto(symbol) for symbol in recorded]
        return _at_venues([*pairs, *_stocks_beside(universe, settings)], settings)
    stocks = _stocks_beside(universe, settings)
    try:
        choice, asset_class = settings.instrument_choice, traits_of(settings.venue).asset_class
        if choice.strip().isdigit():  # so many of what the venue has
            universe = [one for one in universe if one not in stocks]
        chosen = choose_instruments(universe, choice, asset_class=asset_class, known=recorded)
    except ValueError as error:
        raise OpsError(f"--instruments: {error}") from None
    named = any(one in stocks for one in chosen)
    return _at_venues(chosen if named else [*chosen, *stocks], settings)


def _stocks_beside(universe: Sequence[Instrument], settings: Settings) -> list[Instrument]:
    """The stocks that are collected beside what the venue has; where the choice names some, only those are."""
    own = settings.stocks_venue
    if own is None or own == settings.venue:
        return []
    return [one for one in universe if one.venue == own and not one.by_name_only and one.asset_class is _STOCK]


def _at_venues(instruments: Sequence[Instrument], settings: Settings) -> list[Instrument]:
    """Those whose venue the deployment collects, with their venue."""
    venues = collected_venues(settings)
    stated = [one.model_copy(update={"venue": one.venue or settings.venue}) for one in instruments]
    return [one for one in stated if one.venue in venues]


def generated_symbols(settings: Settings, venue: str = REPLAY) -> list[str] | None:
    """Symbols that the generated market of ``venue`` must list beside its usual pairs; None if there are none."""
    if settings.instruments is None or settings.instruments.strip().isdigit():
        return None
    usual = choose_instruments(_universe(settings), "all")
    chosen = [one for one in chosen_instruments(settings) if one.venue == venue]
    return list(
        dict.fromkeys(plain_name(one.symbol) for one in [*usual, *chosen] if one.asset_class is AssetClass.CRYPTO)
    )


def begin_collecting(store: Store, settings: Settings) -> list[str]:
    """Add the chosen instruments that are not in the database yet; return their symbols.

    Instruments that a person removed stay removed, unless the settings name them.
    """
    wanted = chosen_instruments(settings)
    store.instruments.assign_venue(settings.venue)
    known = store.instruments.ids()
    choice = (settings.instruments or "all").strip().lower()
    by_name = not (choice == "all" or choice.lstrip("+-").isdigit())
    return store.instruments.add([one for one in wanted if by_name or one.symbol not in known])


def _universe(settings: Settings) -> list[Instrument]:
    try:
        require_keys(settings)
        offered = offered_instruments(settings)
    except ValueError as error:
        raise OpsError(str(error)) from None
    recorded = recorded_stocks(settings)
    if recorded is None:
        return offered
    others = [one for one in offered if one.asset_class is not _STOCK or one.venue not in (None, MASSIVE)]
    return [*others, *recorded]


def _recorded(settings: Settings) -> Sequence[str]:
    """Pairs of the recordings that are replayed; none when the market is generated or real."""
    if settings.venue != "replay" or settings.replay_source == "generated":
        return []
    from crypto_pipeline.replay import open_market

    return [symbol.canonical for symbol in open_market(settings.replay_source).symbols()]
