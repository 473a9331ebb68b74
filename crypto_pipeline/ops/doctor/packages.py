"""The packages: whether each one that is required is installed, fits, and has compiled code that starts here."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution, requires, version
from typing import TYPE_CHECKING

from crypto_pipeline.ops.doctor.requirements import Requirement

if TYPE_CHECKING:
    from packaging.requirements import Requirement as Wanted

_OURS = "crypto-pipeline"
#: What has compiled code that may not start on a machine, with what helps where it does not.
COMPILED = {
    "polars": "on a processor without AVX2 run `pip install 'polars[rtcompat]'`",
    "numba": "run `pip install --force-reinstall numba llvmlite`",
    "pyarrow": "run `pip install --force-reinstall pyarrow`",
    "psycopg": "run `pip install --force-reinstall 'psycopg[binary]'`",
    "lightgbm": "it needs the OpenMP library: `apt-get install libgomp1`",
}
_SECONDS = 60


def packages(extra: str = "server") -> Requirement:
    """Every package that this one requires, with the extra: absent ones, and versions that do not fit."""
    fix = f"Run `pip install '{_OURS}[{extra}]'` in a fresh environment."
    try:
        from packaging.requirements import Requirement as Wanted
    except ModuleNotFoundError:
        return Requirement("packages", "bad", f"the packages of the extra `{extra}` are absent", fix)
    absent, wrong, count = [], [], 0
    for wanted in required([Wanted(line) for line in requires(_OURS) or []], extra):
        try:
            installed = version(wanted.name)
        except PackageNotFoundError:
            absent.append(wanted.name)
            continue
        count += 1
        if not wanted.specifier.contains(installed, prereleases=True):
            wrong.append(f"{wanted.name} {installed} (wanted: {wanted.specifier})")
    found = f"{_OURS} {version(_OURS)} and {count} packages"
    if absent:
        found += f"; absent: {', '.join(sorted(absent))}"
    if wrong:
        found += f"; do not fit: {', '.join(sorted(wrong))}"
    return Requirement("packages", "bad", found, fix) if absent or wrong else Requirement("packages", "ok", found)


def required(lines: Sequence[Wanted], extra: str) -> list[Wanted]:
    """Those of a package's own requirements that count with ``extra``, and with the extras of the package it names."""
    found = []
    for line in lines:
        if line.marker is not None and not line.marker.evaluate({"extra": extra}):
            continue
        if line.name != _OURS:
            found.append(line)
            continue
        for one in line.extras:
            found += [each for each in required(lines, one) if each not in found]
    return found


def libraries() -> list[Requirement]:
    """The compiled packages that are installed, each imported by an interpreter of its own.

    A program that the processor cannot run kills its interpreter; here it kills another one.
    """
    found = []
    running = {name: _import(name) for name in COMPILED if _installed(name) is not None}
    for name, process in running.items():
        try:
            _, said = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            said = f"it took longer than {_SECONDS} s"
        if process.returncode != 0:
            found.append(
                Requirement("libraries", "bad", f"{name} does not start: {_reason(process, said)}", _fix(name))
            )
    return found or [Requirement("libraries", "ok", f"{', '.join(running)} start")]


def _import(name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-I", "-c", f"import {name}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _reason(process: subprocess.Popen[str], said: str) -> str:
    if process.returncode < 0:
        return signal.Signals(-process.returncode).name
    return (said.strip().splitlines() or ["no message"])[-1]


def _fix(name: str) -> str:
    text = COMPILED[name]
    return text[0].upper() + text[1:] + "."


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
