"""Recorded stocks and macro series that a deployment replays: which stocks there are, and whether the folders have any.

What the replay exchange itself would refuse is refused here, before anything starts.
"""

from __future__ import annotations

from crypto_pipeline.market.instruments import Instrument, one_spelling
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.settings import PREFIX, Settings

#: The venue that the replay exchange stands in for with its stocks.
MASSIVE = "massive"


def recorded_stocks(settings: Settings) -> list[Instrument] | None:
    """The stocks of ``replay_stocks``, with their venue; None where stocks are generated or real.

    Raises ReplayError for a folder without recordings, OpsError where they would be moved to other dates.
    """
    if settings.replay_stocks is None or settings.massive_source != "replay":
        return None
    from crypto_pipeline.replay.massive.recorded import recorded_tickers

    if settings.replay_source != "generated" and settings.replay_shift_to_now:
        raise OpsError(
            f"recorded stocks keep their dates, by which they have sessions: unset {PREFIX}REPLAY_SHIFT_TO_NOW, or "
            f"{PREFIX}REPLAY_STOCKS ({settings.replay_stocks})"
        )
    names = [one_spelling(ticker) for ticker in recorded_tickers(settings.replay_stocks)]
    return [Instrument.stock(name).model_copy(update={"venue": MASSIVE}) for name in names]


def check_recordings(settings: Settings) -> None:
    """Raises ReplayError where ``replay_macro`` has no macro series, although the replay exchange should serve them."""
    if settings.replay_macro is not None and settings.macro_source == "replay" and settings.macro_series is not None:
        from crypto_pipeline.replay.fred.recorded import macro_folder

        macro_folder(settings.replay_macro)
