"""Learning: minima, the fit by LightGBM, importances and curves. What decides whether to believe it is in judging."""
