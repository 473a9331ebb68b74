"""Imports all modules that a ``Store`` imports at first use, in processes that fork others, to save them the
imports.
"""

# ruff: noqa: F401

import adbc_driver_postgresql.dbapi
import psycopg_pool
import sqlalchemy.dialects.postgresql.psycopg

import crypto_pipeline.store.archive.reader
import crypto_pipeline.store.bars.audit
import crypto_pipeline.store.bars.refused
import crypto_pipeline.store.bars.writer
import crypto_pipeline.store.coordination.budgets
import crypto_pipeline.store.coordination.heartbeats
import crypto_pipeline.store.corporate_actions
import crypto_pipeline.store.coverage.comparisons
import crypto_pipeline.store.coverage.coverage
import crypto_pipeline.store.coverage.failovers
import crypto_pipeline.store.coverage.ledger
import crypto_pipeline.store.coverage.reconciliations
import crypto_pipeline.store.instruments
import crypto_pipeline.store.macro.writer
import crypto_pipeline.store.operations.check_results
import crypto_pipeline.store.operations.disk_usage
import crypto_pipeline.store.operations.metrics
import crypto_pipeline.store.operations.proof_rotation
import crypto_pipeline.store.reads.bars
import crypto_pipeline.store.reads.trades
import crypto_pipeline.store.research.features
import crypto_pipeline.store.research.labels
import crypto_pipeline.store.research.models.predictions
import crypto_pipeline.store.research.models.registry
import crypto_pipeline.store.schema.instrument_statements
import crypto_pipeline.store.trades.live_prices
import crypto_pipeline.store.trades.price_updates
import crypto_pipeline.store.trades.spans
import crypto_pipeline.store.trades.writer
import crypto_pipeline.store.views.views
