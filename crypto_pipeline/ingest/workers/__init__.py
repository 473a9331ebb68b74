"""Workers of ingest: machines (or data directories) that share the shards of one deployment.

``assignment`` says which worker is to have which shard, ``membership`` which workers there are and what they hold.
Starting and ending the programs of shards belongs to ``ops.supervision``.
"""
