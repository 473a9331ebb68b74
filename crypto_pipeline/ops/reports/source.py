"""What sections are made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from crypto_pipeline.ops.checks.report import look
from crypto_pipeline.ops.checks.states import CheckState
from crypto_pipeline.ops.reports.content import ReportName
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.operations.notifications.reports import Reports


@dataclass(frozen=True)
class ReportSource:
    """The store and the span of one report; what several sections need is read once."""

    settings: Settings
    store: Store
    url: str
    report: ReportName
    start: datetime
    end: datetime
    now: datetime

    @cached_property
    def reads(self) -> Reports:
        """Facts for reports."""
        return Reports(self.store.connections)

    @cached_property
    def checks(self) -> list[CheckState]:
        """Every check now, the worst first."""
        return look(self.settings)

    @cached_property
    def market_now(self) -> datetime:
        """The market's time: that of a recording is not ours."""
        return self.store.clock.now()

    @property
    def market_span(self) -> tuple[datetime, datetime]:
        """The span in the market's time, at least an hour long."""
        end = self.market_now - (self.now - self.end)
        return end - max(self.end - self.start, timedelta(hours=1)), end
