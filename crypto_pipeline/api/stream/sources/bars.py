"""Stored bars: the newest of a series, and which spans of its past changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from crypto_pipeline.api.stream.channel import Channel, Update
from crypto_pipeline.api.stream.sources.rows import StreamedBar
from crypto_pipeline.api.stream.sources.source import ChannelSource
from crypto_pipeline.api.stream.spans import Span, joined
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms, midnight, unix_ms
from crypto_pipeline.reading import Reader
from crypto_pipeline.reading.query import NARROW, question
from crypto_pipeline.store.coordination.notifications import CHANNEL
from crypto_pipeline.store.reads.changed_bars import CellVersion, ChangedBars, RecordedBar, RecordedSpan

#: Bars that a channel keeps: what a snapshot holds.
NEWEST = 500
#: A transaction may be committed so long after the moment that it records.
_LATE = timedelta(minutes=2)


@dataclass
class SeriesState:
    """What is known of a series: versions of its days, the newest time of recording, and older bars told lately."""

    cells: dict[date, CellVersion] = field(default_factory=dict)
    recorded_us: int = 0
    told: dict[int, int] = field(default_factory=dict)


class BarChannels(ChannelSource):
    """Reads bars of the days whose coverage cells changed."""

    kinds = ("bars",)
    notices = (CHANNEL,)

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader, self._changed = reader, ChangedBars(reader.store.connections)

    def most(self, kind: str) -> int | None:
        """As in ChannelSource."""
        return NEWEST

    def read(self, channels: Sequence[Channel], payloads: set[str | None]) -> Iterable[Update]:
        """As in ChannelSource."""
        by_timeframe: dict[Timeframe, dict[str, Channel]] = defaultdict(dict)
        for channel in channels:
            assert channel.name.timeframe is not None
            assert channel.name.instrument is not None
            by_timeframe[channel.name.timeframe][channel.name.instrument] = channel
        for timeframe, of_timeframe in by_timeframe.items():
            ids = self._reader.store.symbols.ids(of_timeframe)
            numbers = _numbers(payloads, timeframe)
            due = {
                name: channel
                for name, channel in of_timeframe.items()
                if not channel.loaded or numbers is None or ids[name] in numbers
            }
            if due:
                yield from self._read(timeframe, due, {name: ids[name] for name in due}, everything=None in payloads)

    def _read(
        self, timeframe: Timeframe, due: Mapping[str, Channel], ids: Mapping[str, int], *, everything: bool
    ) -> Iterable[Update]:
        cells = self._changed.cells(timeframe, ids)  # before the bars: what changes in between is read again
        looks = {name: _Look(timeframe, channel, cells[name]) for name, channel in due.items()}
        anew = [name for name, look in looks.items() if everything or look.must_begin]
        if anew:
            yield from self._begin(timeframe, anew, looks)
        later = {name: look for name, look in looks.items() if name not in anew}
        spans = [span for look in later.values() for span in look.to_read()]
        recorded: dict[str, list[RecordedBar]] = defaultdict(list)
        for bar in self._changed.recorded(timeframe, spans, ids) if spans else ():
            recorded[bar.instrument].append(bar)
        for name, look in later.items():
            yield look.update(recorded[name])

    def _begin(self, timeframe: Timeframe, names: list[str], looks: Mapping[str, _Look]) -> Iterable[Update]:
        """The newest bars read anew, without the one that is forming."""
        asked = question(names, timeframe, last=NEWEST + 1, final_only=False, columns=[*NARROW, "recorded_at"])
        frame = self._reader.answer(asked)
        rows: dict[str, list[RecordedBar]] = defaultdict(list)
        for name, at, first, high, low, close, volume, count, source, complete, recorded in frame.iter_rows():
            if source != "forming":
                prices = first, high, low, close
                recorded_us = int(recorded.timestamp() * 1e6)
                rows[name].append(RecordedBar(name, unix_ms(at), *prices, volume, count, source, complete, recorded_us))
        for name in names:
            yield looks[name].begin(rows[name][-NEWEST:])


class _Look:
    """One look at one series: what its cells say now, compared with what was known."""

    def __init__(self, timeframe: Timeframe, channel: Channel, cells: dict[date, CellVersion]) -> None:
        self._channel, self._cells = channel, cells
        self._width, self._bar = timedelta(days=timeframe.cell_days), timeframe.milliseconds
        self._known: SeriesState = channel.state or SeriesState()
        before = self._known.cells
        self._days = [day for day, cell in cells.items() if before.get(day) != cell]
        fewer = any(cells[day].present < before[day].present for day in self._days if day in before)
        gone = any(day not in cells for day in before)
        self._first: int = next(iter(channel.rows), 0)  # type: ignore[assignment]  # keys of bars are times
        full = len(channel.rows) >= NEWEST
        #: Whether the newest bars must be read anew: bars were removed, or older ones may come before them.
        self.must_begin = not channel.loaded or fewer or gone or not full

    def to_read(self) -> list[RecordedSpan]:
        """Where bars that were recorded lately are to be read."""
        name = self._channel.name.instrument
        assert name is not None
        since = from_unix_ms(self._known.recorded_us // 1000) - _LATE
        spans = []
        for day in self._days:
            end = midnight(day) + self._width
            if unix_ms(end) > self._first:
                spans.append(RecordedSpan(name, midnight(day), end, since))
        return spans

    def update(self, bars: Sequence[RecordedBar]) -> Update:
        """What the bars that were recorded lately change."""
        told = {at: recorded for at, recorded in self._known.told.items() if at in {bar.open_ms for bar in bars}}
        spans = self._older_days()
        for bar in bars:
            if bar.open_ms < self._first and told.get(bar.open_ms) != bar.recorded_us:
                told[bar.open_ms] = bar.recorded_us
                spans.append((bar.open_ms, bar.open_ms + self._bar))
        recorded = max([self._known.recorded_us, *(bar.recorded_us for bar in bars)])
        rows = [_row(bar) for bar in bars if bar.open_ms >= self._first]
        state = SeriesState(self._cells, recorded, told)
        return Update(self._channel.name.text, rows, spans=joined(spans), state=state)

    def begin(self, bars: Sequence[RecordedBar]) -> Update:
        """The newest bars, all of them."""
        rows = [_row(bar) for bar in bars]
        recorded = max([self._known.recorded_us, *(bar.recorded_us for bar in bars)])
        state = SeriesState(self._cells, recorded)
        spans: list[Span] = []
        if self._channel.loaded:
            self._first = rows[0].open_time if rows else 0
            spans = self._older_days()
            kept = {row.open_time for row in rows}
            before: list[int] = list(self._channel.rows)  # type: ignore[arg-type]  # keys of bars are times
            spans += [(at, at + self._bar) for at in before if at not in kept and at >= self._first]
            if len(rows) >= NEWEST:
                spans += self._begun_days()
        return Update(self._channel.name.text, rows, whole=True, spans=joined(spans), state=state)

    def _begun_days(self) -> list[Span]:
        """Of changed days in which the newest bars begin: what lies before them."""
        starts = [(unix_ms(midnight(day)), unix_ms(midnight(day) + self._width)) for day in self._days]
        return [(start, self._first) for start, end in starts if start < self._first < end]

    def _older_days(self) -> list[Span]:
        """Changed days, and days that are gone, before the newest bars."""
        days = [*self._days, *(day for day in self._known.cells if day not in self._cells)]
        ends = [(midnight(day), midnight(day) + self._width) for day in days]
        return [(unix_ms(start), unix_ms(end)) for start, end in ends if unix_ms(end) <= self._first]


def _row(bar: RecordedBar) -> StreamedBar:
    return StreamedBar(
        bar.open_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trade_count, bar.source, bar.complete
    )


def _numbers(payloads: set[str | None], timeframe: Timeframe) -> set[int] | None:
    """Numbers of the instruments of a timeframe that notifications named; None: any."""
    numbers: set[int] = set()
    for payload in payloads:
        if not payload:
            return None
        for part in payload.split(";"):
            named, _, listed = part.partition(":")
            if named == timeframe:
                numbers.update(map(int, listed.split(",")))
    return numbers
