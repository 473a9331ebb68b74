"""How readers and answers are shown and handed on: in notebooks and terminals, as Polars, pandas and Arrow.

Also the progress of calls that take long. Nothing here computes or reads a bar. IPython and pandas are used where
they are; nothing here needs them.
"""
