"""What a safeguard found."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelFinding:
    """``check``: name of the safeguard; ``subject``: of an input, a fold or a metric; ``found`` beside ``allowed``.

    ``blocks``: the model must not be promoted; otherwise a person is told.
    """

    check: str
    subject: str
    found: float | None
    allowed: float | None
    message: str
    blocks: bool = True

    def to_document(self) -> dict[str, Any]:
        """As JSON values; a number that is not finite is null."""
        shown = asdict(self)
        return {
            key: None if isinstance(each, float) and not math.isfinite(each) else each for key, each in shown.items()
        }


def blocking(findings: Iterable[ModelFinding]) -> tuple[ModelFinding, ...]:
    """The findings for which a model must not be promoted."""
    return tuple(finding for finding in findings if finding.blocks)
