"""A small file system that fills and empties: under the watch alone, and under a whole `up`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crypto_pipeline.ops.host import processes
from crypto_pipeline.ops.host.disk_space import Disk, DiskLimits
from crypto_pipeline.ops.housekeeping.disk_watch import SOURCE, DiskWatch, Room
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.deployment import Deployment, await_, crowding

#: How often the disk of a whole deployment fills and empties.
ROUNDS = int(os.environ.get("CRYPTO_PIPELINE_TEST_DISK_ROUNDS", "1"))
MB = 1_000_000


@pytest.fixture
def small(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own, of as many MB as the test says."""
    place = Path(tempfile.mkdtemp(prefix="cp-disk-"))
    place.chmod(0o755)
    size = f"size={request.param}m,mode=0755"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        place.rmdir()
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
    place.rmdir()


def fill(place: Path, leave: int = 0) -> None:
    """Take all room but ``leave`` bytes."""
    with (place / "filler").open("ab", buffering=0) as file:
        while (free := shutil.disk_usage(place).free) > leave:
            try:
                file.write(b"x" * min(4 * MB, free - leave))
            except OSError:
                return


def empty(place: Path) -> None:
    (place / "filler").unlink(missing_ok=True)


def test_limits_are_shares_of_a_small_disk_and_fixed_on_a_large_one() -> None:
    small, large = DiskLimits.of(1_000 * MB, 256), DiskLimits.of(2_000_000 * MB, 256)
    assert (small.reserve, small.stop, small.warn) == (50 * MB, 40 * MB, 140 * MB)
    assert (large.reserve, large.stop, large.warn) == (256 * MB, 200 * MB, 5_200 * MB)
    assert small.start == 130 * MB


@pytest.mark.own_server
@pytest.mark.parametrize("small", [100], indirect=True)
def test_the_reserve_is_given_up_first_then_all_stops_then_all_returns(small: Path, postgres_url: str) -> None:
    said: list[str] = []
    settings = load_settings(data_dir=small)
    watch = DiskWatch(settings, postgres_url, said.append)
    disk = watch.disk

    def look() -> bool:
        watch._looked = 0.0
        return watch.look()

    assert not look()
    assert disk.reserved == disk.limits.reserve > 4 * MB
    fill(small, leave=disk.limits.warn - MB)
    assert not look()
    with Store(postgres_url) as store:
        (alert,) = store.checks.open_alerts().filter(source=SOURCE).to_dicts()
        assert alert["severity"] == "warning", "a person is told long before"
        fill(small, leave=disk.limits.stop - MB)
        assert not look(), "the room in reserve is used first"
        assert disk.reserved == 0
        (alert,) = store.checks.open_alerts().filter(source=SOURCE).to_dicts()
        assert alert["severity"] == "critical"
        assert "the reserve file was deleted" in alert["summary"]
        fill(small)
        assert look(), "now everything must stop"
        assert "everything is stopped until there is enough" in said[-1]
        waits: list[float] = []

        def somebody_makes_room(seconds: float) -> bool:
            waits.append(seconds)
            if len(waits) == 3:
                empty(small)
            return False

        assert watch.wait(somebody_makes_room)
        assert len(waits) == 3
        assert "there is room again" in said[-1]
        assert not look()
        assert disk.reserved == disk.limits.reserve
        assert watch._room is Room.PLENTY
        assert store.checks.open_alerts().filter(source=SOURCE).is_empty()


@pytest.mark.parametrize("small", [100], indirect=True)
def test_a_reserve_that_does_not_fit_is_not_made_in_part(small: Path) -> None:
    disk = Disk(small, 256)
    fill(small, leave=disk.limits.start - 1)
    assert not disk.keep_reserve()
    assert [path.name for path in small.iterdir()] == ["filler"]


@pytest.mark.parametrize("small", [20], indirect=True)
def test_supervisord_outlives_its_own_log(small: Path, tmp_path: Path) -> None:
    """It logs in vain, its error output is as full as its log, and it goes on."""
    config = small / "conf"
    config.write_text(
        "[supervisord]\nnodaemon = true\nsilent = true\nuser = root\nlogfile = %(here)s/log\nlogfile_maxbytes = 1KB\n"
        f"logfile_backups = 1\npidfile = {tmp_path}/pid\n[program:one]\ncommand = sh -c 'echo said; sleep 0.05'\n"
        "autorestart = true\nstartsecs = 0\nstdout_logfile = %(here)s/one.log\n"
    )
    fill(small)
    command = [sys.executable, "-m", "crypto_pipeline.ops.supervision.supervisor_program", "-c", str(config)]
    with (small / "out").open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(4 * crowding())
            empty(small)
            await_(lambda: "one" in (small / "log").read_text(errors="replace"), 20 * crowding())
        finally:
            process.terminate()


@pytest.mark.parametrize("small", [700], indirect=True)
def test_up_waits_on_a_full_disk_and_goes_on_by_itself(small: Path) -> None:
    house = Deployment()
    shutil.rmtree(house.data_dir)
    house.data_dir = small / "data"
    house.data_dir.mkdir(mode=0o755)
    house.places = type(house.places)(house.data_dir)
    house.output = small / "output"
    try:
        house.start()
        assert (house.data_dir / "reserve").stat().st_size == DiskLimits.of(shutil.disk_usage(small).total, 256).reserve
        for number in range(ROUNDS):
            postgres = house.pid("postgres")
            deadline = time.monotonic() + 90 * crowding()
            while house.state.phase != "waiting for room":
                assert time.monotonic() < deadline, house.output.read_text()
                assert house.process is not None
                assert house.process.poll() is None, "`up` must not end"
                fill(small)
                time.sleep(0.2)
            await_(lambda pid=postgres: not processes.is_alive(pid), 60 * crowding())  # type: ignore[misc]
            await_(lambda: house.output.read_text().count("waiting for room") > number, 60 * crowding())  # noqa: B023
            (house.data_dir / "postgres.before-2026-01-01T00-00-00Z").mkdir(exist_ok=True)
            trimmed = house.command("storage", "trim", "--yes")
            assert trimmed.returncode == 0, trimmed.stderr
            assert "the database does not run" in trimmed.stderr
            empty(small)
            house.await_healthy(120 * crowding(), without=postgres)
            assert house.output.read_text().count("there is room again") == number + 1
            proof = house.command("storage", "prove", timeout=90 * crowding())
            assert proof.returncode == 0, proof.stdout + proof.stderr
    finally:
        house.stop()
