"""The files under deploy/: what Prometheus reads is valid and fires as it says, and every metric they name exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from crypto_pipeline.api.operations import collector
from crypto_pipeline.ops.checks.registry import definitions
from crypto_pipeline_tests.builders.places import PROJECT

PROMETHEUS, DASHBOARD = PROJECT / "deploy/prometheus", PROJECT / "deploy/grafana/crypto_pipeline.json"
_METRIC = re.compile(r"crypto_pipeline_[a-z0-9_]+")
_ALERT = re.compile(r"alert(?:name)?: (\w+)")


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool on this machine: `apt-get install prometheus` brings it")
    return found


def stated_metrics() -> set[str]:
    """Names of all metrics, as the collector's source has them."""
    text = Path(collector.__file__).read_text()
    words = set(re.findall(r'"([a-z0-9_]+)"', text)) | {f"ingest_{name}" for name in collector._INGEST_COUNTERS}
    names = {collector.PREFIX + word for word in words | {"ingest_lag_seconds", "ingest_bar_lag_seconds"}}
    return names | {f"{name}_total" for name in names}


def queries(panel: dict[str, object]) -> list[str]:
    targets = panel["targets"]
    assert isinstance(targets, list)
    return [target["expr"] for target in targets]


def test_prometheus_takes_the_configuration(promtool: str, tmp_path: Path) -> None:
    folder = shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    (folder / "token").write_text("a token")
    checked = subprocess.run(
        [promtool, "check", "config", "prometheus.yml"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "rules found" in checked.stdout


def test_every_alert_fires_on_its_figure_and_not_while_all_is_well(promtool: str) -> None:
    command = [promtool, "test", "rules", "alerts_test.yml"]
    tried = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stdout + tried.stderr


def test_every_alert_is_tried_and_leads_to_the_runbook() -> None:
    rules = (PROMETHEUS / "alerts.yml").read_text()
    tried = (PROMETHEUS / "alerts_test.yml").read_text()
    alerts = _ALERT.findall(rules)
    assert len(alerts) == len(set(alerts)) > 15
    for alert in alerts:
        cases = re.findall(rf"alertname: {alert}\b", tried)
        assert len(cases) >= 2, f"{alert} is tried once: let it fire, and let it be silent"
    anchors = re.findall(r"runbook: docs/runbook\.md#(\S+)", rules)
    assert len(anchors) == len(alerts)
    assert {anchor for anchor in anchors if not anchor.startswith("{{")} <= set(definitions())


def test_every_metric_that_is_asked_for_exists() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    asked = "\n".join(query for panel in dashboard["panels"] for query in queries(panel))
    asked += (PROMETHEUS / "alerts.yml").read_text()
    assert set(_METRIC.findall(asked)) - stated_metrics() == set()


def test_panels_of_the_dashboard_have_queries_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 20
    for panel in panels:
        assert queries(panel)
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert cells.isdisjoint(taken), panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
