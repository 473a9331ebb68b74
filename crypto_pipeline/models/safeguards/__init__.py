"""Safeguards: what must stop a model from being believed, before it is promoted and while it is used."""
