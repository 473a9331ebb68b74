"""Every fault turns its own check bad and no other; nothing is ok that was not shown to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crypto_pipeline.ops.checks.evaluation import judge
from crypto_pipeline.ops.checks.observation import Observation
from crypto_pipeline.ops.checks.registry import definitions
from crypto_pipeline.ops.checks.states import overall
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store.operations.figures.dagster_facts import DagsterFacts
from crypto_pipeline_tests.ops.checks.observations import FAULTS, Plant, one_silent, well, with_facts, with_program


def test_while_all_is_well_every_check_is_ok() -> None:
    states = judge(well())
    assert {state.name: state.summary for state in states if state.status != "ok"} == {}
    assert overall(states) == "ok"


@pytest.mark.parametrize(("check", "plant"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_turns_exactly_its_check_bad(check: str, plant: Plant) -> None:
    states = judge(plant(well()))
    assert [state.name for state in states if state.status == "bad"] == [check]
    bad = next(state for state in states if state.status == "bad")
    assert bad.summary
    assert bad.runbook == f"docs/runbook.md#{check}"
    hidden = {state.name for state in states if state.status == "unknown"}
    assert all(check in _causes(name) for name in hidden)


def _causes(name: str) -> set[str]:
    """Every check that hides another one, over all steps."""
    required = set(definitions()[name].requires)
    return required.union(*(_causes(one) for one in required)) if required else required


def test_without_facts_nothing_is_ok() -> None:
    """A registry that can read nothing says that it knows nothing, or what is bad; never that all is well."""
    states = judge(Observation(load_settings(), database_trouble="away"))
    assert {state.status for state in states} == {"bad", "unknown"}
    assert overall(states) == "critical"


def test_an_empty_deployment_is_unknown_and_not_ok() -> None:
    seen = with_facts(heartbeats={}, silences=(), coverage=(), features={}, jobs=())(well())
    states = {state.name: state.status for state in judge(replace(seen, dagster=DagsterFacts(), newest_backup=None))}
    unknown = {"supervisor", "ingest", "dagster_daemon", "code_server", "webserver", "http_api", "forecast_loop",
               "notifier", "instruments_silent", "coverage_24h", "coverage_7d", "features_age", "schedules_run",
               "processors", "job_errors", "backup", "notifications_delivered", "run_queue",
               "run_workers", "predictions_in_time", "scans_current"}  # fmt: skip
    assert {name for name, status in states.items() if status == "unknown"} == unknown


def test_a_program_that_has_just_started_is_not_bad_yet() -> None:
    seen = with_program("webserver", "does not answer", "STARTING")(well())
    states = {state.name: state.status for state in judge(seen)}
    assert states["webserver"] == "unknown"


@pytest.mark.parametrize(("silent", "severity"), [(1, "warning"), (2, "error"), (4, "critical")])
def test_the_share_of_silent_instruments_decides_the_severity(silent: int, severity: str) -> None:
    seen = one_silent(well())
    late = [replace(one, seconds=400.0) for one in seen.known.silences[:silent]]
    seen = with_facts(silences=(*late, *seen.known.silences[silent:]))(seen)
    found = next(state for state in judge(seen) if state.name == "instruments_silent")
    assert (found.status, found.severity, len(found.offenders)) == ("bad", severity, silent)


@pytest.mark.parametrize(
    ("beats", "severity", "said"),
    [
        ({"run-worker:one": (1.0, {}), "run-worker:two": (40.0, {"ended": True})}, "error", "1 others work"),
        ({"run-worker:two": (40.0, {}), "run-worker:old": (8 * 86_400.0, {})}, "critical", "no run begins"),
        ({}, "critical", "no run begins"),
    ],
)
def test_workers_of_which_none_is_left_are_critical(beats: dict[str, Any], severity: str, said: str) -> None:
    others = {name: beat for name, beat in well().known.heartbeats.items() if not name.startswith("run-worker:")}
    (found,) = (one for one in judge(with_facts(heartbeats=others | beats)(well())) if one.name == "run_workers")
    assert (found.status, found.severity) == ("bad", severity)
    assert said in found.summary


def test_the_clock_of_a_recording_is_no_fault() -> None:
    seen = with_facts(clock_venue="replay", clock_ahead=-160_000_000.0)(well())
    assert next(state.status for state in judge(seen) if state.name == "clock") == "ok"
