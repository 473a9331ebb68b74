"""Context of commands: the settings of a deployment, its database URL and its store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from crypto_pipeline.settings import Settings
    from crypto_pipeline.store import Store


def deployment_settings(data_dir: Path | None, **given: Any) -> Settings:
    """Settings of a deployment. Precedence: ``given``, then the environment, then the options of its ``up``."""
    from crypto_pipeline.ops.host.paths import Places, UpState
    from crypto_pipeline.settings import PREFIX, load_settings

    first = load_settings(data_dir=data_dir, **given)
    state = UpState.read(Places(first.data_dir))
    if state is None:
        return first
    remembered = {
        name: value
        for name, value in state.settings.items()
        if f"{PREFIX}{name.upper()}" not in os.environ and given.get(name) is None
    }
    return load_settings(data_dir=data_dir, **{**remembered, **{k: v for k, v in given.items() if v is not None}})


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """URL of the deployment's migrated database for the block. An embedded server that is down is started for it.

    Raises BadInput when there is no database.
    """
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.ops.host.paths import Places, running_state
    from crypto_pipeline.settings import command
    from crypto_pipeline.store import resolve_url
    from crypto_pipeline.store.embedded.server import EmbeddedServer
    from crypto_pipeline.store.schema.migrations import migrate

    if settings.database_url is not None:
        url = resolve_url(settings)
        migrate(url)
        yield url
        return
    state = running_state(Places(settings.data_dir))
    if state is not None and state.own_database:
        raise BadInput(
            "`up` runs here with a PostgreSQL of your own: set CRYPTO_PIPELINE_DATABASE_URL for this command as well"
        )
    if not (settings.data_dir / "postgres" / "data").exists():
        raise BadInput(
            f"no database in {settings.data_dir}: run `crypto-pipeline up` first, name its folder with --data-dir, "
            "or set CRYPTO_PIPELINE_DATABASE_URL"
        )
    server = EmbeddedServer(settings.data_dir)
    if not server.is_alive():
        up = command("up", "--data-dir", settings.data_dir)
        typer.echo(
            f"nothing runs on {settings.data_dir}: its database is started for this command, and has no bars after the "
            f"end of the last `up`; `{up}` continues collecting",
            err=True,
        )
    with server.running() as url:
        migrate(url)
        yield url


@contextmanager
def open_store(settings: Settings) -> Iterator[Store]:
    """The deployment's store for the block."""
    from crypto_pipeline.store import Store

    with database(settings) as url, Store(url) as store:
        yield store
