"""Importing this module builds the definitions, for processes that are forked from the one that imports it.

The fork server of the code server imports it once; every run that is forked from it finds the definitions there, and
keeps its connections to the database from one step to the next.
"""

from crypto_pipeline.definitions import defs
from crypto_pipeline.ops.dagster_instance.beta_warnings import ignore_beta_warnings
from crypto_pipeline.store.process_store import keep_connections

ignore_beta_warnings()
keep_connections()
defs()
