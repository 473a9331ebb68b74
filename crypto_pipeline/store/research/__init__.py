"""Tables of features and labels, their history, and the data versions from which they were computed.

The computation of features and labels belongs to ``features`` and ``labels``.
"""
