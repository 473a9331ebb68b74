"""Checks of this machine: room on the disk of the data directory."""

from __future__ import annotations

from crypto_pipeline.ops.checks.definition import CheckDefinition
from crypto_pipeline.ops.checks.observation import Observation
from crypto_pipeline.ops.checks.states import CheckFinding, bad, ok, unknown

_FULL = 0.95


def _disk(seen: Observation) -> CheckFinding:
    disk = seen.disk
    if disk is None:
        return unknown(f"the disk of {seen.settings.data_dir} cannot be read")
    percent = disk.used * 100
    said = f"{disk.free / 1e9:.1f} GB are free on the disk of {seen.settings.data_dir} ({percent:.1f} % used)"
    advice = "`crypto-pipeline storage trim` lists what it can delete at once"
    if not disk.reserve_kept and seen.settings.database_url is None:
        return bad(f"{said}, and the reserve file was deleted: {advice}", percent, "critical")
    if disk.free < disk.warn or disk.used >= _FULL:
        return bad(f"{said}: {advice}", percent)
    return ok(said, percent)


CHECKS = (
    CheckDefinition(
        "disk_room", "load", "There is room on the disk of the data directory.", "warning",
        f"< {_FULL:.0%} used, ≥ 5 GB or 10 % free", "%", evaluate=_disk,
    ),
)  # fmt: skip
