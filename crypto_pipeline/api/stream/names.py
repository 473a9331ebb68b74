"""Names of channels: ``prices``, ``bars/BTC-USDT/1m``, ``forecasts/BTC-USDT``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from crypto_pipeline.market.near_names import did_you_mean, near_names
from crypto_pipeline.market.timeframes import Timeframe

#: Longest name of a channel that is looked at.
LONGEST = 128


class ChannelShape(NamedTuple):
    """What stands after the first part of a channel's name."""

    instrument: bool
    timeframe: bool


#: Every kind of channel.
KINDS = {
    "prices": ChannelShape(instrument=False, timeframe=False),
    "bars": ChannelShape(instrument=True, timeframe=True),
    "forming": ChannelShape(instrument=True, timeframe=True),
    "forecasts": ChannelShape(instrument=True, timeframe=False),
    "signals": ChannelShape(instrument=False, timeframe=False),
    "trades": ChannelShape(instrument=False, timeframe=False),
    "alerts": ChannelShape(instrument=False, timeframe=False),
}


@dataclass(frozen=True, slots=True)
class ChannelName:
    """The parts of a channel's name; ``instrument`` and ``timeframe`` are None where its kind has none."""

    text: str
    kind: str
    instrument: str | None = None
    timeframe: Timeframe | None = None

    @classmethod
    def parse(cls, text: str) -> ChannelName:
        """Raises ValueError for a text that is no channel's name; says what it should look like."""
        if len(text) > LONGEST:
            raise ValueError(f"the name of a channel has at most {LONGEST} characters")
        kind, *parts = text.split("/")
        shape = KINDS.get(kind)
        if shape is None:
            hint = did_you_mean(near_names(kind, KINDS, 1)) or f"there are {', '.join(map(pattern, KINDS))}"
            raise ValueError(f"unknown channel {text!r}: {hint}")
        if len(parts) != sum(shape) or "" in parts:
            raise ValueError(f"unknown channel {text!r}: it must look like {pattern(kind)}")
        instrument = parts[0] if shape.instrument else None
        return cls(text, kind, instrument, Timeframe.parse(parts[1]) if shape.timeframe else None)


def pattern(kind: str) -> str:
    """What names of a kind look like, in words."""
    shape = KINDS[kind]
    return "/".join([kind, *["INSTRUMENT"] * shape.instrument, *["TIMEFRAME"] * shape.timeframe])
