"""Whether a silent instrument is quiet or its stream is dead.

Judged for each instrument, not for a connection: a thin pair may be silent for hours on a busy connection.
"""

from __future__ import annotations

from dataclasses import dataclass

from crypto_pipeline.ingest.aggregation.minute_state import InstrumentStream

#: No instrument is suspected after a shorter silence, and the pause between requests grows to at most this. Seconds.
_SHORTEST, _LONGEST_PAUSE = 15.0, 300.0
#: Another instrument with news within this time shows that the venue and the connection are alive. Seconds.
_ALIVE = 5.0


@dataclass(slots=True)
class _Habit:
    """How long one instrument is silent usually. Monotonic times and seconds."""

    last_message_at: float
    longest: float = 0.0
    not_before: float = 0.0
    pause: float = _SHORTEST
    dead: int = 0


class Silence:
    """Finds instruments that are silent for longer than usual while others have news; REST then tells which it is."""

    def __init__(self) -> None:
        self._habits: dict[str, _Habit] = {}
        self.quiet = 0
        self.dead = 0

    def suspects(self, stream: list[InstrumentStream], now: float) -> list[InstrumentStream]:
        """The instruments to request by REST now (``now`` is monotonic)."""
        newest = max((each.last_message_at for each in stream), default=0.0)
        suspects = []
        for each in stream:
            habit = self._habits.setdefault(each.symbol, _Habit(each.last_message_at or now))
            if each.last_message_at > habit.last_message_at:
                # a habit is forgotten slowly, so that one busy hour does not make the night suspicious
                habit.longest = max(habit.longest * 0.99, each.last_message_at - habit.last_message_at)
                habit.last_message_at, habit.pause = each.last_message_at, _SHORTEST
                continue
            silent = now - habit.last_message_at
            if each.linked_ms is None or now - newest > _ALIVE:
                continue  # the whole connection is silent, which the session watches
            if silent > max(_SHORTEST, 3 * habit.longest) and now >= habit.not_before:
                habit.not_before = now + habit.pause
                habit.pause = min(_LONGEST_PAUSE, habit.pause * 2)
                suspects.append(each)
        return suspects

    def verdict(self, symbol: str, new_trades: int) -> bool:
        """Whether the stream of a suspect is dead, by the number of trades that only REST had of it.

        True: its connection should be replaced.
        """
        habit = self._habits.get(symbol)
        if habit is None:
            return False
        if not new_trades:
            self.quiet += 1
            habit.dead = 0
            return False
        self.dead += 1
        habit.dead += 1
        return habit.dead >= 2
