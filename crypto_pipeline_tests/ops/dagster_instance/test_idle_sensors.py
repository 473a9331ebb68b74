"""The daemon evaluates a sensor only when what it looks at has changed: Dagster's own loop over real sensors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon import sensor as daemon

from crypto_pipeline.ops.dagster_instance import idle_sensors
from crypto_pipeline.ops.dagster_instance.idle_sensors import INSTRUMENTS, RUNS, IdleSensors, pause_idle_sensors

_SENSORS = """
import dagster as dg
from pathlib import Path

FOLDER = Path({folder!r})

@dg.job
def nothing():
    pass

@dg.sensor(job=nothing, tags={{"crypto_pipeline/changes": "instruments"}},
           default_status=dg.DefaultSensorStatus.RUNNING)
def quiet(context):
    if (FOLDER / "fails").exists():
        raise ValueError("planted")
    if (FOLDER / "more").exists():
        return dg.SensorResult(skip_reason="one of many", cursor=str(int(context.cursor or 0) + 1))
    return dg.SkipReason("nothing to do")

@dg.sensor(job=nothing, default_status=dg.DefaultSensorStatus.RUNNING)
def steady():
    return dg.SkipReason("always looks")

@dg.run_status_sensor(run_status=dg.DagsterRunStatus.SUCCESS,
                      default_status=dg.DefaultSensorStatus.RUNNING)
def of_runs(context):
    pass

defs = dg.Definitions(jobs=[nothing], sensors=[quiet, steady, of_runs])
"""


@pytest.fixture
def changed() -> dict[str, int]:
    """What the daemon is told of instruments and runs."""
    return {INSTRUMENTS: 0, RUNS: 0}


@pytest.fixture
def look(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, int]
) -> Iterator[Callable[[], set[str]]]:
    """One round of Dagster's sensor daemon; returns the names of the sensors that it evaluated."""
    file = tmp_path / "sensors.py"
    file.write_text(_SENSORS.format(folder=str(tmp_path)))
    # As if the shortest interval of every sensor had passed.
    monkeypatch.setattr(daemon, "is_under_min_interval", lambda *_: False)
    monkeypatch.setattr(daemon, "mark_sensor_state_for_tick", daemon.mark_sensor_state_for_tick)
    monkeypatch.setattr(idle_sensors, "_KEPT", -1.0)
    pause_idle_sensors(IdleSensors({name: lambda name=name: changed[name] for name in changed}))
    with create_test_daemon_workspace_context(PythonFileTarget(str(file), "defs", None, None), instance) as workspace:

        def ticks() -> dict[str, int]:
            states = instance.all_instigator_state()
            return {one.name: len(instance.get_ticks(one.instigator_origin_id, one.selector_id)) for one in states}

        def once() -> set[str]:
            before = ticks()
            list(daemon.execute_sensor_iteration(workspace, logging.getLogger(__name__), None, None))
            return {name for name, count in ticks().items() if count > before.get(name, 0)}

        yield once


def test_a_sensor_is_evaluated_when_something_changed_failed_or_got_on(
    look: Callable[[], set[str]], changed: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = {"quiet", "steady", "of_runs"}
    assert look() == everything, "nothing is known yet"
    assert look() - {"of_runs"} == {"steady"}
    assert look() == {"steady"}

    changed[INSTRUMENTS] += 1
    assert look() == {"quiet", "steady"}
    assert look() == {"steady"}
    changed[RUNS] += 1
    assert look() == {"of_runs", "steady"}
    assert look() == {"steady"}

    (tmp_path / "fails").touch()
    changed[INSTRUMENTS] += 1
    assert look() == look() == {"quiet", "steady"}, "one that failed is evaluated again"
    (tmp_path / "fails").unlink()
    assert look() == {"quiet", "steady"}
    assert look() == {"steady"}

    (tmp_path / "more").touch()
    changed[INSTRUMENTS] += 1
    assert look() == look() == look() == {"quiet", "steady"}, "one that got on may have more to do"
    (tmp_path / "more").unlink()
    assert look() == {"quiet", "steady"}
    assert look() == {"steady"}

    monkeypatch.setattr(idle_sensors, "LONGEST_PAUSE", 0.0)
    assert look() == everything, "once a minute in any case"


def test_a_sensor_is_evaluated_where_nobody_can_say_what_changed(
    look: Callable[[], set[str]], changed: dict[str, int]
) -> None:
    look()
    look()
    del changed[INSTRUMENTS]
    assert "quiet" in look()
    assert "quiet" in look()
