"""Reads from a streaming replica: which server answers, and of which moment its answer is.

``read_servers`` compares positions in the log, ``routed_answers`` sends questions for bars to one of the two servers.
"""
