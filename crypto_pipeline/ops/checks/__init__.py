"""Every named check of the system in one registry: its definition, its newest state, its evaluation and its remedy.

Dagster's asset checks, HTTP health, metrics, alerts and reports read the states from here. SQL belongs in ``store``,
the computing of data checks in ``healing``, ``features`` and ``labels``.
"""
