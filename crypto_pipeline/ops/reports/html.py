"""A report as one HTML file that needs nothing else: styles and pictures are in it, so that it can be mailed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from decimal import Decimal
from html import escape

from crypto_pipeline.ops.reports.content import ReportContent, ReportSection, ReportTable, shown

_STYLE = """
body { font: 14px/1.45 -apple-system, "Segoe UI", Roboto, sans-serif; color: #24292f; background: #fff;
       max-width: 900px; margin: 24px auto; padding: 0 16px; }
h1 { font-size: 21px; margin: 0 0 2px; } h2 { font-size: 15px; margin: 22px 0 4px; }
.span { color: #6e7781; margin: 0 0 12px; } p { margin: 2px 0 8px; }
.mark { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 7px; }
.good { background: #2da44e; } .bad { background: #cf222e; } .unknown { background: #afb8c1; }
.plain { background: #54aeff; }
table { border-collapse: collapse; font-size: 12px; margin: 4px 0 10px; }
th { text-align: left; color: #57606a; font-weight: 600; border-bottom: 1px solid #d0d7de; }
th, td { padding: 3px 12px 3px 0; vertical-align: top; } tr + tr td { border-top: 1px solid #eaeef2; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; } .caption { color: #57606a; font-size: 12px; margin-top: 8px; }
"""


def report_html(content: ReportContent) -> str:
    """The whole report as one document."""
    span = f"{content.start:%Y-%m-%d %H:%M} to {content.end:%Y-%m-%d %H:%M} UTC, zone {content.time_zone}"
    return page_html(content.title, span, content.sections)


def page_html(title: str, span: str, sections: Sequence[ReportSection]) -> str:
    """Sections under a title as one document; ``span``: the line below the title."""
    parts = "\n".join(_section(one) for one in sections)
    mood = "bad" if any(one.mood == "bad" for one in sections) else "good"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        f'<h1><span class="mark {mood}"></span>{escape(title)}</h1>\n<p class="span">{escape(span)}</p>\n'
        f"{parts}\n</body></html>\n"
    )


def _section(one: ReportSection) -> str:
    tables = "".join(_table(table) for table in one.tables)
    charts = "".join(_chart(title, png) for title, png in one.charts.items())
    mark = f'<span class="mark {one.mood}"></span>'
    return f"<h2>{mark}{escape(one.title)}</h2>\n<p>{escape(one.headline)}</p>{tables}{charts}"


def _table(table: ReportTable) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in table.rows)
    title = f'<p class="caption">{escape(table.title)}</p>' if table.title else ""
    return f"{title}<table><tr>{head}</tr>{rows}</table>"


def _cell(value: object) -> str:
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return f"<td{' class=number' if number else ''}>{escape(shown(value))}</td>"


def _chart(title: str, png: bytes) -> str:
    data = base64.b64encode(png).decode()
    return f'<p class="caption">{escape(title)}</p><img alt="{escape(title)}" src="data:image/png;base64,{data}">'
