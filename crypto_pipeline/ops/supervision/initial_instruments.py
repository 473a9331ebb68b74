"""The instruments that a new deployment collects."""

from __future__ import annotations

from collections.abc import Sequence

from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.universe import choose_instruments, load_universe
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues import traits_of


def chosen_instruments(settings: Settings) -> list[Instrument]:
    """The instruments that the settings choose. Raises OpsError for an unknown symbol and names the nearest known one.

    On a replay of recordings, every recorded pair may be chosen; without a choice all of them are collected.
    """
    universe = _universe(settings)
    recorded = _recorded(settings)
    if recorded and settings.instruments is None:
        by_name = {instrument.symbol: instrument for instrument in universe}
        return [by_name.get(symbol) or Instrument.crypto(symbol) for symbol in recorded]
    try:
        asset_class = traits_of(settings.venue).asset_class
        return choose_instruments(universe, settings.instrument_choice, asset_class=asset_class, known=recorded)
    except ValueError as error:
        raise OpsError(f"--instruments: {error}") from None


def generated_symbols(settings: Settings) -> list[str] | None:
    """Symbols that a generated market must list in addition to its usual pairs; None if there are none."""
    if settings.instruments is None or settings.instruments.strip().isdigit():
        return None
    usual = choose_instruments(_universe(settings), "all")
    return list(dict.fromkeys(one.symbol for one in [*usual, *chosen_instruments(settings)]))


def begin_collecting(store: Store, settings: Settings) -> list[str]:
    """Add the chosen instruments that are not in the database yet; return their symbols.

    Instruments that a person removed stay removed, unless the settings name them.
    """
    wanted = chosen_instruments(settings)
    known = store.instruments.ids()
    choice = (settings.instruments or "all").strip().lower()
    by_name = not (choice == "all" or choice.lstrip("+-").isdigit())
    return store.instruments.add([one for one in wanted if by_name or one.symbol not in known])


def _universe(settings: Settings) -> list[Instrument]:
    try:
        return load_universe(settings.universe_file)
    except ValueError as error:
        raise OpsError(str(error)) from None


def _recorded(settings: Settings) -> Sequence[str]:
    """Pairs of the recordings that are replayed; none when the market is generated or real."""
    if settings.venue != "replay" or settings.replay_source == "generated":
        return []
    from crypto_pipeline.replay import open_market

    return [symbol.canonical for symbol in open_market(settings.replay_source).symbols()]
