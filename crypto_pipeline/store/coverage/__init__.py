"""Coverage and the ledger of gaps: numbers of expected, present and explained bars per instrument, timeframe and day.

The cells and their locks, the ledger, failovers, reconciliations and comparisons with the venue belong here.
"""
