"""Writing bars: validation, precedence within a transaction, and queries that audit stored bars.

Refused bars are stored here as well, with the reason. Reading bars for people belongs to ``reads``.
"""
