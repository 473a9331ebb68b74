"""Extras that a setting needs: whether they are installed, and what installs them."""

from __future__ import annotations

from importlib.util import find_spec

from crypto_pipeline.ops.errors import OpsError

#: What installs the extra ``celery``.
INSTALL_CELERY = "pip install 'crypto-pipeline[server,celery]'"


def require_celery() -> None:
    """Raise OpsError, with what to install, where the extra ``celery`` is absent."""
    if find_spec("dagster_celery") is None:
        raise OpsError(
            f"CRYPTO_PIPELINE_CELERY_BROKER_URL needs the extra celery: {INSTALL_CELERY}; or remove the setting, and "
            "runs start on this machine"
        )
