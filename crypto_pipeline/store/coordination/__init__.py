"""What processes share through the database: leases, heartbeats, request budgets and notifications."""
