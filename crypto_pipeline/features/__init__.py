"""Features: numbers about an instrument that are known at the close of a 15m bar, for models.

Here belong the indicators and features as named expressions and functions over frames of bars, each with its warm-up,
the checks that prove that none looks ahead, and what brings bars and features together through the store. Labels,
models, SQL and schedules do not belong here, nor anything that knows of Dagster.
"""
