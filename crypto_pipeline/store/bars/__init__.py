"""Writing bars: validation, precedence inside one transaction, and the questions that audit what is stored.

Bars that are refused are kept here too, with the reason. Reading bars for people belongs to ``reads``.
"""
