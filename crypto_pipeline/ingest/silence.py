"""Quiet or dead? Judged for each instrument, not for a socket: a thin pair may be silent for hours on a busy link."""

from __future__ import annotations

from dataclasses import dataclass

from crypto_pipeline.ingest.aggregation.minute_state import Series

#: Nobody is suspected sooner; nobody is asked about more rarely than that. Seconds.
_SOONEST, _RAREST = 15.0, 300.0
#: A sibling that spoke within this time shows that the venue and the link are alive.
_SIBLING = 5.0


@dataclass(slots=True)
class _Watch:
    """What is known of one instrument's habits."""

    heard: float
    longest: float = 0.0
    again: float = 0.0
    wait: float = _SOONEST
    dead: int = 0


class Silence:
    """Suspects instruments that are silent beyond their own habit while others speak; REST then tells which it is."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watch] = {}
        self.quiet = 0
        self.dead = 0

    def suspects(self, series: list[Series], now: float) -> list[Series]:
        """Whom to ask REST about now (``now`` is monotonic)."""
        newest = max((each.heard for each in series), default=0.0)
        found = []
        for each in series:
            watch = self._watched.setdefault(each.symbol, _Watch(each.heard or now))
            if each.heard > watch.heard:
                # a habit is forgotten slowly, so that one busy hour does not make the night suspicious
                watch.longest = max(watch.longest * 0.99, each.heard - watch.heard)
                watch.heard, watch.wait = each.heard, _SOONEST
                continue
            silent = now - watch.heard
            if each.linked_ms is None or now - newest > _SIBLING:
                continue  # the whole link is silent, which is the connection's own matter
            if silent > max(_SOONEST, 3 * watch.longest) and now >= watch.again:
                watch.again = now + watch.wait
                watch.wait = min(_RAREST, watch.wait * 2)
                found.append(each)
        return found

    def verdict(self, symbol: str, new_trades: int) -> bool:
        """What REST said of a suspect. True: its stream is dead, so its link should be replaced."""
        watch = self._watched.get(symbol)
        if watch is None:
            return False
        if not new_trades:
            self.quiet += 1
            watch.dead = 0
            return False
        self.dead += 1
        watch.dead += 1
        return watch.dead >= 2
