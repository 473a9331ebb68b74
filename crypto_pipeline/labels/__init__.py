"""Labels: the outcome of every setup, stored when its horizon has ended.

Here belong the setups of the strategies, their barriers and what touched them first, uniqueness weights, when a label
is final, and training sets: features joined to labels. Features themselves, models, SQL and schedules do not belong
here, nor anything that knows of Dagster.
"""
