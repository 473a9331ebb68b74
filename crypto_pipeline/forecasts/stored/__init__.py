"""Forecasts where they meet the store: fitted every night, published at every close, anchored, scored, checked."""
