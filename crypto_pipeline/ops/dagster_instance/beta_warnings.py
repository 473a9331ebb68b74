"""Dagster's warnings of interfaces that it calls beta or preview."""

from __future__ import annotations

import warnings


def ignore_beta_warnings() -> None:
    """Silence them in this process, or in the block of ``warnings.catch_warnings``.

    What this project uses of such interfaces is covered by tests; a warning for each asset would fill the logs.
    """
    from dagster import BetaWarning, PreviewWarning

    warnings.filterwarnings("ignore", category=BetaWarning)
    warnings.filterwarnings("ignore", category=PreviewWarning)
