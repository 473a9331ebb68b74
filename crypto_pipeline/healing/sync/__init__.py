"""Keeping venues up to date that nothing streams from: price updates every 15 minutes, and the historical sync.

``price_update`` asks a venue for its newest minutes and stores them with the prices. ``known_bars`` moves what is
stored so into history, without asking a venue. ``history`` does that and then heals every series that lags behind.
"""
