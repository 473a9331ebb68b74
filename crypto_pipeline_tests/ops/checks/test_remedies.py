"""Remedies do what is safe, say what was done, and one that fails keeps no other from running."""

from __future__ import annotations

from pathlib import Path

from crypto_pipeline.ops.checks.evaluation import judge
from crypto_pipeline.ops.checks.remedies import repair
from crypto_pipeline.settings import load_settings
from crypto_pipeline_tests.ops.checks.observations import FAULTS, well


def test_only_what_is_bad_is_repaired(tmp_path: Path) -> None:
    assert repair(load_settings(data_dir=tmp_path), judge(well())) == []


def test_what_nobody_may_do_alone_names_the_paragraph_for_a_person(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    for fault in ("database read-only", "disk 95 %", "venue banned", "clock off", "schedule turned off"):
        check, plant = FAULTS[fault]
        done = {one.check: one.done for one in repair(settings, judge(plant(well())))}
        assert done == {check: f"nothing was done, a person decides: docs/runbook.md#{check}"}


def test_a_remedy_that_fails_is_reported(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    states = [state for fault in ("ingest dead", "backup old") for state in judge(FAULTS[fault][1](well()))]
    done = {one.check: one.done for one in repair(settings, states)}
    assert done.keys() == {"ingest", "backup"}
    assert done["ingest"] == f"the remedy failed: nothing runs in {tmp_path}: start `crypto-pipeline up`"
    assert done["backup"].startswith(f"the remedy failed: no database is running in {tmp_path}")
