"""Forecasts: fitted and published every night, scored after they expired."""
