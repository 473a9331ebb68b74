"""How grave a failed check or an alert is."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Severity: TypeAlias = Literal["critical", "error", "warning", "info"]
#: Every severity, the gravest first.
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
