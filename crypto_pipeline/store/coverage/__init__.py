"""Coverage and the ledger of gaps: per instrument, timeframe and day how many bars are expected, present and explained.

Here belong the cells and their locks, the ledger, failovers, reconciliations and comparisons with the venue.
"""
