"""Reads of what belongs to bars besides them: features, macro series, trades, the ledger, and superseded copies."""
