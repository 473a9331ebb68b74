"""Forecasts: where the price of an instrument will be, with intervals, and how good such forecasts were.

What computes them is pure: arrays of log prices in, paths and quantiles out. ``stored`` is where it meets the store.
Nothing here knows Dagster, HTTP or a model of ``models``.
"""
