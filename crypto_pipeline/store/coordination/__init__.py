"""What processes share through the database: leases, heartbeats, request budgets and notifications.

What a process does with a lease or a budget is decided by ``ingest``, ``venues`` and ``ops``.
"""
