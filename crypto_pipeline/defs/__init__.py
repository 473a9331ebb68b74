"""Dagster definitions, thin: assets, checks, sensors, schedules, jobs and resources, grouped by subject.

Here belongs only the declaration of what runs when and what people see of it. Logic does not: every function calls the
core (healing, store, ops) with a span and instruments.
"""

from crypto_pipeline.defs.definitions import defs

__all__ = ["defs"]
