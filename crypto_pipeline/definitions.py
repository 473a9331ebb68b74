"""The code location: everything that ``crypto_pipeline.defs`` defines, found by Dagster's own walk over its folders.

``crypto-pipeline up`` serves this module, ``dg`` and ``dagster`` load it by name. Importing it reads no setting; the
definitions are built when they are first asked for.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import dagster as dg

import crypto_pipeline.defs
from crypto_pipeline.ops.dagster_instance.beta_warnings import ignore_beta_warnings
from crypto_pipeline.ops.supervision.programs import LOCATION


@dg.definitions
def defs() -> dg.Definitions:
    """All definitions, as Dagster asks for them: built once per process."""
    return built()


@lru_cache(maxsize=1)
def built() -> dg.Definitions:
    """All definitions from the settings of this process.

    Raises SettingsError where a setting is bad, or where retention would remove bars that others still look back to.
    """
    from crypto_pipeline.ops.housekeeping.retention import check_look_backs
    from crypto_pipeline.settings import load_settings

    settings = load_settings()
    check_look_backs(settings)
    with warnings.catch_warnings():
        ignore_beta_warnings()
        return _found()


def _found() -> dg.Definitions:
    """The definitions of every folder of ``crypto_pipeline.defs``, with resources, executor and links to their code."""
    from crypto_pipeline.defs.base.code_links import with_code_links
    from crypto_pipeline.defs.base.resources import shared

    folder = Path(crypto_pipeline.defs.__file__).parent
    tree = dg.ComponentTree(
        defs_module=crypto_pipeline.defs, project_root=folder.parent.parent, code_location_name=LOCATION
    )
    return with_code_links(dg.Definitions.merge(tree.build_defs(), shared()), folder.parent)
