"""Dagster definitions, thin: assets, checks, sensors, schedules, jobs and resources, grouped by subject.

Here belongs only the declaration of what runs when and what people see of it. Logic does not: every function calls the
core (healing, store, ops) with a span and instruments.
"""

import warnings

import dagster as dg

# What we use of Dagster's beta interface is covered by tests; a warning for each asset would drown the server's log.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

from crypto_pipeline.defs.definitions import defs  # noqa: E402  (after the filter, or it comes too late)

__all__ = ["defs"]
