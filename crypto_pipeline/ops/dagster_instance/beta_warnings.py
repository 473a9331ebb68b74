"""Dagster's warnings about interfaces that it marks as beta or preview."""

from __future__ import annotations

import warnings


def ignore_beta_warnings() -> None:
    """Silence these warnings in this process, or within a block of ``warnings.catch_warnings``.

    Tests cover the interfaces that this project uses; a warning for each asset would fill the logs.
    """
    from dagster import BetaWarning, PreviewWarning

    warnings.filterwarnings("ignore", category=BetaWarning)
    warnings.filterwarnings("ignore", category=PreviewWarning)
