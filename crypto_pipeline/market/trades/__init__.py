"""Trades: bars made of them, the individual trades inside aggregates, and what the ids of an answer prove."""
