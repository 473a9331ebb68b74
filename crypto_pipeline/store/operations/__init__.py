"""Tables of operations: checks and alerts, job metrics, disk use, proofs of tables, Dagster's own tables."""
