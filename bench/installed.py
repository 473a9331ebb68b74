"""Wheel and sdist as a user installs them: an empty environment, `doctor`, `up` until it is complete, a read, `down`.

    python bench/installed.py [PYTHON …] [--formats wheel,sdist]

For each interpreter (default: this one) and each format: a fresh environment by its own venv and pip, nothing of the
checkout in sight. The base install, without the extra `server`, is tried first: it reads, and says what it lacks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import load, machine, table
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

PROJECT = Path(__file__).parents[1]
OPTIONS = (
    "--instruments",
    "BTC-USDT,ETH-USDT",
    "--days",
    "2",
    "--ui-port",
    "0",
    "--replay-port",
    "0",
    "--api-port",
    "0",
)
_READ = """
import sys, crypto_pipeline
frame = crypto_pipeline.bars("BTC-USDT", "1h", last=24)
assert frame.height == 24, frame
assert not any(name.partition(".")[0] == "dagster" for name in sys.modules)
print(crypto_pipeline.__version__, crypto_pipeline.__file__)
"""
BUILDERS: dict[str, Any] = {"wheel": WheelBuilder, "sdist": SdistBuilder}


class Installed:
    """One environment in a folder of its own, without settings or packages of this process."""

    def __init__(self, python: str, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv/bin"
        clean = ("CRYPTO_PIPELINE_", "DAGSTER_", "PYTHON", "VIRTUAL_ENV")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(clean)}
        self.environment["CRYPTO_PIPELINE_DATA_DIR"] = str(folder / "data")
        subprocess.run([python, "-m", "venv", str(folder / "venv")], env=self.environment, check=True)

    def pip(self, what: str) -> float:
        """Install; seconds."""
        began = time.monotonic()
        command = [str(self.bin / "pip"), "install", "--quiet", "--disable-pip-version-check", what]
        subprocess.run(command, env=self.environment, cwd=self.folder, stderr=subprocess.DEVNULL, check=True)
        return time.monotonic() - began

    def run(self, *command: str, codes: Sequence[int] = (0,)) -> str:
        """One program of the environment; its output."""
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]], env=self.environment, cwd=self.folder, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode in codes, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


def attempt(python: str, form: str, file: Path) -> list[object]:
    """Everything with one interpreter and one file."""
    folder = Path(tempfile.mkdtemp(prefix="cp-installed-"))
    folder.chmod(0o755)
    try:
        house = Installed(python, folder)
        alone = house.pip(str(file))
        version = house.run("python", "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])").strip()
        assert "up" in house.run("crypto-pipeline", "--help")
        assert "crypto-pipeline[server]" in house.run("crypto-pipeline", "up", codes=(1,))
        assert "crypto-pipeline[server]" in house.run("crypto-pipeline", "doctor", codes=(1,))
        whole = house.pip(f"{file}[server]")
        assert "ready" in house.run("crypto-pipeline", "doctor")
        started, complete = start(house)
        assert str(folder) in house.run("python", "-c", _READ)
        house.run("crypto-pipeline", "down")
        return [version, form, f"{alone:.0f} s", f"{whole:.0f} s", f"{started:.0f} s", f"{complete:.0f} s", load()]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start(house: Installed) -> tuple[float, float]:
    """Seconds until everything answers, and until every bar is there or explained."""
    began = time.monotonic()
    house.run("crypto-pipeline", "up", "--detach", *OPTIONS)
    started = time.monotonic() - began
    while '"complete": true' not in (said := house.run("crypto-pipeline", "status", "--json", codes=(0, 1))):
        assert time.monotonic() - began < 900, said
        time.sleep(2)
    return started, time.monotonic() - began


def main() -> None:
    """Build both, try all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", default=[sys.executable])
    parser.add_argument("--formats", default="wheel,sdist")
    given = parser.parse_args()
    print(machine())
    rows = []
    with tempfile.TemporaryDirectory(prefix="cp-dist-") as folder:
        for form in given.formats.split(","):
            [file] = BUILDERS[form](str(PROJECT)).build(directory=folder, versions=["standard"])
            for python in given.pythons:
                rows.append(attempt(python, form, Path(file)))
                print(f"<!-- {rows[-1]} -->", flush=True)
    table(("Python", "file", "install alone", "with [server]", "`up` answers", "complete", "load"), rows)


if __name__ == "__main__":
    main()
