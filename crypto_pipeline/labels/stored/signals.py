"""Which labels are meant: those of the signals of one strategy and parameter set in a span."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from crypto_pipeline.labels.strategies.base import Parameters
from crypto_pipeline.labels.strategies.registry import Strategy


@dataclass(frozen=True, slots=True)
class Signals:
    """Signals of one strategy and parameter set in ``[start, end)``, as of ``now``. Times are UTC.

    Attributes:
        strategy: Which setups are signals.
        parameters: What their labels are computed with.
        start: Open of the first signal bar.
        end: First one no longer included.
        now: The market's now: labels are final when their horizon has ended by then.
    """

    strategy: Strategy
    parameters: Parameters
    start: datetime
    end: datetime
    now: datetime

    def between(self, start: datetime, end: datetime) -> Signals:
        """The same in another span."""
        return replace(self, start=start, end=end)
