"""Gap arithmetic and classification: which bars are expected, which are missing, and why.

Pure functions over spans, evidence and frames.
"""
