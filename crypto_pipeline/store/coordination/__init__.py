"""What processes share through the database: leases, heartbeats, request budgets and notifications.

``ingest``, ``venues`` and ``ops`` decide how they use a lease or a budget.
"""
