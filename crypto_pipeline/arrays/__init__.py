"""Numeric kernels over numpy arrays, shared by features and labels. Pure: no store, no frames of bars, no I/O."""
