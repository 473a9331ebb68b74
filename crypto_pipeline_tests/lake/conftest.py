"""The database of the tests of store serves those of the lake."""

from crypto_pipeline_tests.store.conftest import bar_database, store

__all__ = ["bar_database", "store"]
