"""Draw the pictures of the concepts as SVG files, beside this file: ``python docs/drawings/draw.py``."""

from __future__ import annotations

from html import escape
from pathlib import Path

HERE = Path(__file__).parent
GREEN, ORANGE, RED, BLUE = "#2f9e6e", "#e8923a", "#d64545", "#3b6fd4"
#: States of the ledger, as the live page colours them.
NO_TRADE, OUTAGE, LOST, PENDING = "#4a90e2", "#9b5de5", "#e5484d", "#8b8d98"
INK, SOFT, LINE, PALE = "#1f2733", "#5b6675", "#aab3c0", "#eef2f8"


class Drawing:
    """One picture: shapes are added one by one and written at the end. Sizes are in pixels."""

    def __init__(self, name: str, width: int, height: int, about: str) -> None:
        self.path = HERE / f"{name}.svg"
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'font-family="system-ui, sans-serif" font-size="14">',
            f"<title>{escape(about)}</title>",
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{SOFT}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
        ]

    def rect(self, x: float, y: float, w: float, h: float, fill: str, stroke: str = "none", rx: float = 3) -> None:
        """A rectangle."""
        self.parts.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{rx}" fill="{fill}" stroke="{stroke}"/>')

    def text(self, x: float, y: float, words: str, *, fill: str = INK, size: int = 14, anchor: str = "start",
             bold: bool = False, mono: bool = False) -> None:  # fmt: skip
        """One line of text."""
        more = ' font-weight="600"' if bold else ""
        more += ' font-family="ui-monospace, monospace"' if mono else ""
        self.parts.append(
            f'<text x="{x}" y="{y}" fill="{fill}" font-size="{size}" text-anchor="{anchor}"{more}>'
            f"{escape(words)}</text>"
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, *, tip: bool = False, stroke: str = SOFT,
             dash: bool = False) -> None:  # fmt: skip
        """A line, with a tip at its end if asked."""
        more = ' marker-end="url(#tip)"' if tip else ""
        more += ' stroke-dasharray="4 4"' if dash else ""
        self.parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{stroke}" stroke-width="1.5"{more}/>')

    def box(self, x: float, y: float, w: float, h: float, title: str, *lines: str, fill: str = PALE,
            stroke: str = LINE) -> None:  # fmt: skip
        """A box with a title and lines below it, in the middle."""
        self.rect(x, y, w, h, fill, stroke, 6)
        top = y + h / 2 - 9 * len(lines) + 5
        self.text(x + w / 2, top, title, anchor="middle", bold=True)
        for number, words in enumerate(lines, 1):
            self.text(x + w / 2, top + 18 * number, words, anchor="middle", fill=SOFT, size=13)

    def write(self) -> None:
        """Write the file."""
        self.path.write_text("\n".join([*self.parts, "</svg>", ""]), "utf-8")
        print(self.path.name)


def ledger() -> None:
    """A day of one instrument: each minute is present, explained or missing."""
    d = Drawing("ledger", 860, 330, "Every expected minute is present, or a row of the ledger says why it is not")
    d.text(30, 36, "BTC-USDT, 1m: what is expected of the time from 12:00 to 12:30", bold=True)
    kinds = [GREEN] * 6 + [NO_TRADE] + [GREEN] * 5 + [OUTAGE] * 4 + [GREEN] * 6 + [LOST] * 2 + [GREEN] * 5 + [PENDING]
    for number, fill in enumerate(kinds):
        d.rect(30 + number * 26.6, 54, 23, 36, fill)
    for number, words in ((0, "12:00"), (10, "12:10"), (20, "12:20"), (29, "12:29")):
        d.text(30 + number * 26.6, 110, words, fill=SOFT, size=12)
    rows = [
        (GREEN, "present", "22", "The bar is in the table."),
        (NO_TRADE, "no_trade", "1", "Explained: trade ids go on without a jump, so nobody traded in that minute."),
        (OUTAGE, "venue_outage", "4", "Explained: the other instruments have no bars of these minutes either."),
        (LOST, "lost", "2", "Missing: trade ids jump. The bars are requested again, with growing pauses."),
        (PENDING, "pending", "1", "Missing: too new to decide. It is requested again in a minute."),
    ]
    for number, (fill, state, count, why) in enumerate(rows):
        y = 136 + number * 27
        d.rect(30, y, 18, 18, fill)
        d.text(60, y + 14, state, mono=True, size=13)
        d.text(200, y + 14, count, anchor="end")
        d.text(220, y + 14, why, fill=SOFT)
    d.rect(30, 280, 800, 36, PALE, LINE, 6)
    d.text(430, 303, "expected 30  =  present 22  +  explained 5  +  missing 3", anchor="middle", bold=True)
    d.write()


def precedence() -> None:
    """Copies of one bar arrive in any order; the copies alone decide."""
    d = Drawing("precedence", 860, 392, "Of several copies of a bar the same one wins, in whatever order they arrive")
    d.text(30, 36, "Three copies of the minute 12:04", bold=True)
    copies = [
        ("stream, cut off", "close 101.2", "complete: no", RED),
        ("venue_historical", "close 101.5", "complete: yes", BLUE),
        ("live_aggregated", "close 101.4", "complete: yes", GREEN),
    ]
    for number, (source, close, complete, stroke) in enumerate(copies):
        y = 54 + number * 82
        d.rect(30, y, 190, 70, "#ffffff", stroke, 6)
        d.text(44, y + 22, source, bold=True)
        d.text(44, y + 41, close, fill=SOFT, size=13)
        d.text(44, y + 59, complete, fill=SOFT, size=13)
        d.line(220, y + 35, 300, 160, tip=True)
    d.rect(304, 54, 270, 234, PALE, LINE, 6)
    d.text(439, 80, "Which copy is better?", anchor="middle", bold=True)
    for number, (head, words) in enumerate(
        (("1. complete", "before incomplete"), ("2. source", "by its rank, see below"),
         ("3. revision", "when the venue stated it"))
    ):  # fmt: skip
        y = 118 + number * 56
        d.text(330, y, head, bold=True)
        d.text(330, y + 19, words, fill=SOFT, size=13)
    d.line(574, 120, 640, 100, tip=True)
    d.line(574, 210, 626, 230, tip=True)
    d.box(644, 62, 190, 80, "market.ohlc_data", "close 101.4", "live_aggregated", fill="#e5f5ed", stroke=GREEN)
    d.box(630, 196, 216, 80, "market.ohlc_revisions", "what was replaced, with the", "time in which it was the truth")
    d.text(30, 322, "Ranks, best first:", bold=True)
    d.text(
        30,
        346,
        "reconciled · live_aggregated · live_gap_filled · historical_aggregated · venue_historical",
        mono=True,
        size=13,
    )
    d.text(
        30, 372, "Six orders of arrival, one result: a late copy of lower rank never replaces a better one.", fill=SOFT
    )
    d.write()


def as_of() -> None:
    """Each value has a span of time in which it was the truth."""
    d = Drawing("as-of", 860, 352, "A read as of a moment gives the value that was stored at that moment")
    d.text(30, 36, "One bar, three values: BTC-USDT 1m, opened at 12:04 on 20 November", bold=True)
    marks = [
        (190, "12:05:02", "first stored"),
        (420, "12:31:00", "the venue restated it"),
        (640, "21 Nov 04:10", "comparison settled it"),
    ]
    spans = [(190, 420, "close 101.2", BLUE), (420, 640, "close 101.4", GREEN), (640, 830, "close 101.5", ORANGE)]
    for start, end, words, fill in spans:
        d.rect(start, 70, end - start - 3, 44, fill)
        d.text((start + end) / 2, 97, words, anchor="middle", fill="#ffffff", bold=True)
    d.text(30, 97, "the truth was", fill=SOFT)
    d.line(190, 132, 832, 132, tip=True)
    d.text(30, 137, "time of knowing", fill=SOFT)
    for x, when, why in marks:
        d.line(x, 126, x, 138)
        d.text(x, 156, when, size=13)
        d.text(x, 174, why, fill=SOFT, size=12)
    reads = [
        (110, "12:04", "no row"),
        (300, "12:10", "101.2"),
        (530, "20:00", "101.4"),
        (770, "now", "101.5"),
    ]
    for x, when, answer in reads:
        d.line(x, 250, x, 192 if x > 180 else 150, tip=True, dash=True)
        d.text(x, 270, f"as_of={when}" if when != "now" else "no as_of", anchor="middle", mono=True, size=13)
        if x > 180:
            d.text(x, 290, answer, anchor="middle", bold=True)
    d.text(30, 290, "no row: not known yet", bold=True, size=13)
    d.rect(30, 306, 800, 34, PALE, LINE, 6)
    d.text(
        430,
        328,
        "A value that is replaced is kept with its span. The same question gives the same answer for ever.",
        anchor="middle",
    )
    d.write()


def data_versions() -> None:
    """A bar that changes makes exactly that stale which was computed from it."""
    d = Drawing(
        "data-versions",
        860,
        330,
        "A healed bar changes the version of its day, and what was made of that day is made again",
    )
    d.text(30, 36, "A missing minute of 19 November arrives", bold=True)
    heads = [(40, "1m bars"), (240, "1h bars"), (440, "features"), (640, "labels")]
    for x, words in heads:
        d.text(x + 80, 68, words, anchor="middle", bold=True)
    days = [
        ("18 Nov", "v 4", "v 4", GREEN),
        ("19 Nov", "v 7 → v 8", "v 7", ORANGE),
        ("20 Nov", "v 3", "v 3", GREEN),
    ]
    for number, (day, version, made, stroke) in enumerate(days):
        y = 82 + number * 58
        for place, (x, _) in enumerate(heads):
            stale = stroke == ORANGE
            words = version if place == 0 else f"made of {made}"
            fill = "#fdf0e1" if stale else "#e5f5ed"
            d.rect(x, y, 160, 44, fill, stroke, 6)
            d.text(x + 80, y + 19, day, anchor="middle", size=13)
            d.text(
                x + 80,
                y + 36,
                words if not stale or place == 0 else f"{words}: stale",
                anchor="middle",
                fill=SOFT,
                size=13,
            )
            if place < 3:
                d.line(x + 162, y + 22, x + 196, y + 22, tip=True)
    d.text(30, 280, "1. The bar is written. Its day gets another version, in the same transaction.", fill=SOFT)
    d.text(
        30,
        300,
        "2. What was computed from version 7 is stale: these days and no others. Dagster shows the same.",
        fill=SOFT,
    )
    d.text(
        30,
        320,
        "3. They are computed again by themselves. What came out equal keeps its version, so nothing below it moves.",
        fill=SOFT,
    )
    d.write()


def bar_comes_in() -> None:
    """The way of a bar from the venue into the table."""
    d = Drawing("bar-comes-in", 940, 400, "The way of a bar from the venue into the tables")
    d.box(20, 150, 110, 60, "venue")
    d.box(200, 40, 220, 60, "ingest", "trades become minutes")
    d.box(200, 150, 220, 60, "healing: fetch", "pages, archive files")
    d.box(200, 290, 220, 60, "healing: plan", "expected − present − explained")
    d.box(500, 40, 200, 60, "bars writer", "precedence, one transaction")
    d.box(770, 40, 150, 60, "bars", "and their revisions", fill="#e5f5ed", stroke=GREEN)
    d.box(770, 150, 150, 60, "coverage", "and the ledger", fill="#e5f5ed", stroke=GREEN)
    d.box(500, 180, 200, 60, "healing: explain", "reason and evidence")
    d.box(500, 290, 200, 60, "healing: roll-up", "5m … 1w, from 1m")
    d.box(800, 290, 120, 60, "comparison", "with the venue")
    d.line(130, 170, 198, 80, tip=True)
    d.text(110, 112, "stream", fill=SOFT, size=12)
    d.line(130, 182, 198, 182, tip=True)
    d.text(148, 200, "REST", fill=SOFT, size=12)
    d.line(420, 70, 498, 70, tip=True)
    d.line(420, 166, 498, 92, tip=True)
    d.line(310, 290, 310, 212, tip=True)
    d.text(320, 262, "asks for what is missing", fill=SOFT, size=12)
    d.line(700, 62, 768, 62, tip=True)
    d.line(700, 86, 768, 164, tip=True)
    d.line(420, 196, 498, 208, tip=True)
    d.text(414, 232, "did not come", fill=SOFT, size=12)
    d.line(700, 208, 768, 190, tip=True)
    d.line(600, 290, 600, 262)
    d.line(600, 262, 725, 262)
    d.line(725, 262, 725, 130)
    d.line(725, 130, 640, 130)
    d.line(640, 130, 640, 102, tip=True)
    d.text(610, 280, "wider bars", fill=SOFT, size=12)
    d.line(860, 290, 860, 212, tip=True)
    d.text(868, 256, "differs", fill=SOFT, size=12)
    d.line(785, 212, 785, 380, dash=True)
    d.line(785, 380, 310, 380, dash=True)
    d.line(310, 380, 310, 352, tip=True, dash=True)
    d.text(540, 374, "what is still missing", fill=SOFT, size=12)
    d.write()


def question() -> None:
    """The way of a question to its answer."""
    d = Drawing("question", 940, 260, "The way of a question to its answer")
    d.box(20, 40, 170, 54, "Python", "crypto_pipeline.bars()")
    d.box(20, 150, 170, 54, "HTTP", "GET /bars/…")
    d.box(250, 150, 150, 54, "cache", "says how old it is")
    d.box(250, 40, 150, 54, "reader", "checks the question")
    d.box(460, 40, 160, 54, "store: reads", "the way by size")
    d.box(680, 20, 240, 46, "table", "now, and revisions", fill="#e5f5ed", stroke=GREEN)
    d.box(680, 80, 240, 46, "archive", "Parquet files", fill="#e5f5ed", stroke=GREEN)
    d.box(460, 150, 160, 54, "one answer", "the better copy, as of")
    d.box(680, 150, 240, 54, "frame", "Polars, JSON, CSV, Arrow, Parquet")
    d.line(190, 67, 248, 67, tip=True)
    d.line(190, 177, 248, 177, tip=True)
    d.line(325, 150, 325, 96, tip=True)
    d.line(400, 67, 458, 67, tip=True)
    d.line(620, 60, 678, 45, tip=True)
    d.line(620, 75, 678, 98, tip=True)
    d.line(680, 122, 600, 149, tip=True)
    d.line(620, 177, 678, 177, tip=True)
    d.text(
        470, 238, "Whatever way is taken, the answer equals what the plain table would say.", anchor="middle", fill=SOFT
    )
    d.write()


if __name__ == "__main__":
    for draw in (ledger, precedence, as_of, data_versions, bar_comes_in, question):
        draw()
