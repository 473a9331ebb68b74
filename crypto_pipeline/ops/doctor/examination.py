"""Every requirement, one after another; what stops one look does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from crypto_pipeline.ops.doctor import machine, network, packages, places
from crypto_pipeline.ops.doctor.requirements import Requirement
from crypto_pipeline.settings import Settings

Look = Callable[[], Requirement | list[Requirement]]


def examine(settings: Settings, *, offline: bool = False) -> Iterator[Requirement]:
    """What this machine has for a deployment with these settings. ``offline``: no venue is asked."""
    for name, look in looks(settings, offline=offline):
        try:
            found = look()
        except Exception as error:  # a machine that even the look does not understand is a finding
            said = f"{type(error).__name__}: {error}"
            yield Requirement(name, "unknown", said, "Report this as a fault of crypto-pipeline.")
            continue
        yield from found if isinstance(found, list) else [found]


def looks(settings: Settings, *, offline: bool = False) -> Iterator[tuple[str, Look]]:
    """The name of each requirement, and what looks at it."""
    yield "python", machine.python
    yield "machine", machine.machine_kind
    yield "processors", machine.processors
    yield "memory", machine.memory_size
    yield "shared memory", machine.shared_memory
    yield "open files", machine.open_files
    yield "locale", machine.text_encoding
    yield "time zones", machine.time_zones
    yield "packages", packages.packages
    yield "libraries", packages.libraries
    yield "data directory", lambda: places.data_directory(settings)
    yield "disk", lambda: places.disk(settings)
    own = settings.database_url is not None
    yield "database", lambda: (places.own_database if own else places.database_programs)(settings)
    if settings.database_read_url is not None:
        yield "replica", lambda: places.read_replica(settings)
    if settings.celery_broker_url is not None:
        yield "run workers", lambda: network.run_workers(settings)
    yield "ports", lambda: network.ports(settings)
    if not offline:
        yield "venue", lambda: network.venue(settings)
