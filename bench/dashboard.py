"""Run every query of the Grafana dashboard and of the alert rules on a real Prometheus, and draw the dashboard.

    prometheus --config.file=deploy/prometheus/prometheus.yml        # beside a deployment that runs for some minutes
    python bench/dashboard.py http://127.0.0.1:9090 [--minutes 30] [--picture docs/pictures/dashboard.png]

Prints for every query how many series and points it gave, and ends with 1 where one gave none that should have. The
picture has the panels of deploy/grafana/crypto_pipeline.json at their places, drawn with matplotlib from the answers.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.dates import DateFormatter
from matplotlib.patches import Rectangle
from PIL import Image

from bench.common import table

ROOT = Path(__file__).parent.parent
DASHBOARD, RULES = ROOT / "deploy/grafana/crypto_pipeline.json", ROOT / "deploy/prometheus/alerts.yml"
#: Panels that may be without data in a deployment that is well.
MAY_BE_EMPTY = {"Checks that are bad or unknown": "no check is bad or unknown"}
_METRIC = re.compile(r"crypto_pipeline_[a-z0-9_]+")
_UNITS = {"s": "s", "bytes": "MiB", "percentunit": "%", "ops": "1/s", "short": ""}
_SCALES = {"bytes": 2**-20, "percentunit": 100.0}


class Prometheus:
    """The HTTP interface of a Prometheus."""

    def __init__(self, url: str, minutes: float) -> None:
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=30)
        self.end = time.time()
        self.start = self.end - minutes * 60
        self._step = max(5.0, minutes * 60 / 240)

    def span(self, query: str) -> list[dict[str, Any]]:
        """The series of a query over the span."""
        return self._ask("query_range", query=query, start=self.start, end=self.end, step=self._step)

    def now(self, query: str) -> list[dict[str, Any]]:
        """The series of a query now."""
        return self._ask("query", query=query, time=self.end)

    def _ask(self, path: str, **parameters: object) -> list[dict[str, Any]]:
        answer = self._client.get(f"/api/v1/{path}", params={name: str(value) for name, value in parameters.items()})
        body = answer.json()
        if body["status"] != "success":
            raise SystemExit(f"{parameters['query']}: {body['error']}")
        found: list[dict[str, Any]] = body["data"]["result"]
        return found


def legend(template: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template)


def shown(value: float, unit: str) -> str:
    scaled = value * _SCALES.get(unit, 1.0)
    return f"{scaled:,.0f} {_UNITS[unit]}".strip() if abs(scaled) >= 10 or scaled == int(scaled) else f"{scaled:.2f}"


def draw_stat(axes: Any, panel: dict[str, Any], answers: list[Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    value = float(answers[0][0]["value"][1]) if answers[0] else float("nan")
    steps = [step for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]]
    colour = {"green": "#37872d", "red": "#c4162a", "orange": "#e0752d"}[steps[-1]["color"]]
    axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, color=colour))
    text = shown(value, defaults["unit"]) if answers[0] else "no data"
    axes.text(0.5, 0.45, text, transform=axes.transAxes, ha="center", va="center", color="white", fontsize=20)
    axes.set_axis_off()


def draw_lines(axes: Any, panel: dict[str, Any], answers: list[Any]) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    lines = 0
    for target, series in zip(panel["targets"], answers, strict=True):
        for one in series:
            times = [datetime.fromtimestamp(float(at), UTC) for at, _ in one["values"]]
            values = [float(value) * _SCALES.get(unit, 1.0) for _, value in one["values"]]
            axes.plot(times, values, linewidth=1.2, label=legend(target["legendFormat"], one["metric"]))
            lines += 1
    axes.set_ylabel(_UNITS[unit], fontsize=7)
    if panel["fieldConfig"]["defaults"].get("custom", {}).get("scaleDistribution", {}).get("type") == "log":
        axes.set_yscale("log")
    elif lines:
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, 0) if low > -0.05 * high else low, high * 1.05)
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.tick_params(labelsize=6)
    axes.grid(alpha=0.25)
    if 0 < lines <= 10:
        axes.legend(fontsize=5, loc="best", framealpha=0.6)


def draw_table(axes: Any, answers: list[Any]) -> None:
    axes.set_axis_off()
    rows = [[one["metric"].get(name, "") for name in ("check", "subject", "severity")] for one in answers[0]]
    state = ["bad" if "check_bad" in one["metric"].get("__name__", "") else "unknown" for one in answers[0]]
    text = "\n".join(f"{said:8} {'  '.join(row)}" for said, row in zip(state, rows, strict=True)) or "every check is ok"
    axes.text(0.01, 0.95, text, transform=axes.transAxes, va="top", fontsize=6, family="monospace")


def draw(panels: list[dict[str, Any]], answers: list[list[Any]], path: Path) -> None:
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = pyplot.figure(figsize=(16, rows * 0.36), facecolor="white")
    for panel, found in zip(panels, answers, strict=True):
        place = panel["gridPos"]
        left, width = place["x"] / 24 + 0.025, place["w"] / 24 - 0.035
        top, height = 1 - place["y"] / rows, place["h"] / rows
        axes = figure.add_axes((left, top - height + 0.012, width, height - 0.024))
        axes.set_title(panel["title"], fontsize=9, loc="left", pad=3)
        if panel["type"] == "stat":
            draw_stat(axes, panel, found)
        elif panel["type"] == "timeseries":
            draw_lines(axes, panel, found)
        else:
            draw_table(axes, found)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=85)
    # few colours, so that it stays small
    Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path} {path.stat().st_size // 1000} kB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prometheus")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    prometheus = Prometheus(options.prometheus, options.minutes)
    instance = prometheus.now("crypto_pipeline_info")[0]["metric"]["instance"]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    rows, answers, empty = [], [], 0
    for panel in panels:
        found = []
        for target in panel["targets"]:
            query = target["expr"].replace("$instance", instance)
            series = prometheus.span(query) if panel["type"] == "timeseries" else prometheus.now(query)
            points = sum(len(one.get("values", [one.get("value")])) for one in series)
            remark = "" if series else MAY_BE_EMPTY.get(panel["title"], "NO DATA")
            empty += remark == "NO DATA"
            rows.append([panel["title"], f"`{target['expr']}`".replace("|", "\\|"), len(series), points, remark])
            found.append(series)
        answers.append(found)
    table(["panel", "query", "series", "points", ""], rows)
    for name in sorted(set(_METRIC.findall(RULES.read_text()))):
        if not prometheus.now(name):
            print(f"alert rules: {name} has NO DATA")
            empty += 1
    if options.picture is not None:
        draw(panels, answers, options.picture)
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
