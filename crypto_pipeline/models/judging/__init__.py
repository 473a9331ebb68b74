"""Judging: metrics of predictions, break-even probabilities, how sure a mean over days is. Numpy and frames."""
