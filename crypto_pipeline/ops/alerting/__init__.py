"""Alerts that reach a person: when one is announced, how the message reads, and how it gets to Slack and elsewhere.

``policy`` decides (pure), ``messages`` and ``alert_messages`` write, ``channels`` send, ``delivery`` takes messages
from the outbox, ``journal`` keeps alerts about the database while it is away, ``dead_man`` pings, ``notifier`` is the
supervised program. It is resident: its modules import neither Polars nor Dagster. ``groups`` is for commands.
"""
