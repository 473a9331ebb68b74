"""The interface for readers: bars, prices, trades, gaps and coverage as Polars frames, with only a URL.

This room makes reading convenient: times in several forms, forming bars beside stored ones, flat bars for windows
without a bar, and a cache whose answers state their age. Queries belong to ``store``. Nothing here knows Dagster, HTTP
or a venue, and nothing here needs more than a plain ``pip install crypto-pipeline``.
"""

from crypto_pipeline.reading.answer import Answer
from crypto_pipeline.reading.collected import SpanWarning
from crypto_pipeline.reading.query import question
from crypto_pipeline.reading.reader import Reader
from crypto_pipeline.reading.stocks.adjustment import AdjustmentWarning

__all__ = ["AdjustmentWarning", "Answer", "Reader", "SpanWarning", "question"]
