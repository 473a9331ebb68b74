"""Tables of features and labels, their history, and what they were computed from.

How a feature or a label is computed belongs to ``features`` and ``labels``.
"""
