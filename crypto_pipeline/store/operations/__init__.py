"""Tables of operations: check results and alerts, job metrics, disk use, proofs of tables, Dagster's own tables.

``healing``, ``ops`` and ``defs`` decide what is checked and how people are alerted.
"""
