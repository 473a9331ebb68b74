"""Dagster definitions, thin: each folder holds the assets, checks, jobs, schedules and sensors of one subject.

``crypto_pipeline.definitions`` finds all of them; adding a module here is enough. Here belongs only what runs when and
what people see of it. Logic does not: every function calls the core (healing, store, ops) with a span and instruments.
Importing a module of this package reads no setting. What depends on settings is built by functions when Dagster loads
the definitions.
"""
