"""Models: one pooled meta-label model per strategy, trained, calibrated, judged and promoted by fixed rules.

Here belong inputs of models, walk-forward splits, calibration, metrics, break-even probabilities, training, safeguards
and the test of promotion; ``stored/`` is where they meet the store. Labels, features, forecasts of prices, SQL and
schedules do not belong here, nor anything that knows of Dagster.
"""
