"""The public face for readers: bars, prices, trades, gaps and coverage as Polars frames, with only a URL.

Here belongs what makes reading pleasant: times in several forms, forming bars beside stored ones, flat bars filled in
for whoever wants them, and a cache that says how old it is. What is stored, and how it is asked for, is ``store``'s;
nothing here knows Dagster, HTTP or a venue, and nothing here needs more than a plain ``pip install crypto-pipeline``.
"""

from crypto_pipeline.reading.answer import Answer
from crypto_pipeline.reading.collected import SpanWarning
from crypto_pipeline.reading.query import question
from crypto_pipeline.reading.reader import Reader

__all__ = ["Answer", "Reader", "SpanWarning", "question"]
