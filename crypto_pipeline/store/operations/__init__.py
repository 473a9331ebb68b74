"""Tables of operations: check results and alerts, job metrics, disk use, proofs of tables, Dagster's own tables.

What is checked and who is alerted is decided by ``healing``, ``ops`` and ``defs``.
"""
