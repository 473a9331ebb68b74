"""Importing the store changes no logger and no hook of a library: they belong to the program that imports it."""

import subprocess
import sys

_IMPORT = """
import logging, psycopg_pool
import crypto_pipeline.store.store, crypto_pipeline.store.every_part
print(logging.getLogger("psycopg.pool").level, logging.getLogger().handlers)
"""


def test_importing_the_store_changes_nothing_elsewhere() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=False)
    assert done.stdout == "0 []\n", done.stdout + done.stderr
