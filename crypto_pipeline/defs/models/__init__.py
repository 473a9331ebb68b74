"""Models: one asset per strategy that trains one, predictions, and the test of promotion."""
