"""The embedded server's data folder: created once and atomically, and configured before every start."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.embedded import run_as as runas
from crypto_pipeline.store.embedded.binaries import Binaries, find_binaries
from crypto_pipeline.store.embedded.postgresql_conf import render

USER = "crypto_pipeline"
#: below the ports of outgoing connections, so that no other program takes ours by accident
_PORTS = range(20_000, 32_000)
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Cluster:
    """The contents of the folder. It neither starts nor stops the server; callers hold the owner lock where needed."""

    def __init__(self, folder: Path, host: str) -> None:
        self.folder = folder
        self.host = host
        self.data = folder / "data"
        self._logs = folder / "log"
        self._run = folder / "run"

    @cached_property
    def binaries(self) -> Binaries:
        """PostgreSQL programs of the data's version, or the first ones found if there is no data yet."""
        made_by = self.data / "PG_VERSION"
        return find_binaries(int(made_by.read_text()) if made_by.exists() else None)

    def run_as(self) -> runas.RunAs:
        """The user and prefix with which the programs must run."""
        return runas.choose(self.data if self.data.exists() else self.folder, self.binaries.folder / "postgres")

    def command(self) -> list[str]:
        """The command line of the server."""
        return [*self.run_as().prefix, self.binaries.postgres, "-D", str(self.data)]

    def credentials(self) -> tuple[str, str, int]:
        """User, password and port. Raises StoreError if there is no database yet."""
        try:
            return USER, (self.folder / "password").read_text(), int((self.folder / "port").read_text())
        except FileNotFoundError:
            raise StoreError(f"there is no database in {self.folder} yet: start `crypto-pipeline up`") from None
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read the database's password and port in {self.folder}: {error}") from None

    # -- preparation ----------------------------------------------------------------------------------------------

    def make_folder(self) -> None:
        """Make the folder, accessible for its owner only."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def prepare(self, lock: int) -> None:
        """Make the data directory if there is none, write the configuration, remove files of ended servers.

        ``lock`` is the held owner lock; initdb inherits it, so that no other process takes over while one still writes.
        """
        with self.explaining():
            run_as = self.run_as()
            password = self._password()
            for place in (self._logs, self._run):
                place.mkdir(mode=0o700, exist_ok=True)
                run_as.own(place)
            if run_as.uid is not None:
                self.folder.chmod(0o711)
            if not (self.data / "PG_VERSION").exists():
                self._initialise(run_as, password, lock)
            # The lock proves that no server runs here, so these files are of ended ones; other processes may have their
            # ids.
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            for stale in self._run.glob(".s.PGSQL.*"):
                stale.unlink(missing_ok=True)
            self._configure(run_as)

    def _initialise(self, run_as: runas.RunAs, password: Path, lock: int) -> None:
        """Run initdb in a temporary folder, which gets its final name once everything is on disk."""
        for broken in self.folder.glob("data.new*"):
            shutil.rmtree(broken)
        if self.data.exists():
            self.data.rmdir()  # an empty one may have been prepared as a mount point's child; anything else is an error
        fresh = self.folder / "data.new"
        fresh.mkdir(mode=0o700)
        run_as.own(fresh)
        run_as.own(password)
        locale = ["--locale=C", "--encoding=UTF8"]
        if self.binaries.version >= 17:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options = ["-D", str(fresh), "-U", USER, f"--pwfile={password}", "--auth=scram-sha-256", "--data-checksums"]
        if self.binaries.version >= 16:
            # Iterations slow down the guessing of passwords, which is impossible for 256 random bits. Dagster connects
            # for every event, and each connection would pay for the usual 4096 iterations.
            options += ["-c", "scram_iterations=1"]
        answer = subprocess.run(
            [*run_as.prefix, self.binaries.initdb, *options, *locale],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
            pass_fds=(lock,),
            **run_as.popen_arguments(),
        )
        if answer.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise self._failure(answer.stderr)
        (fresh / "local.conf").write_text("# Your own settings for PostgreSQL: they win, and are never overwritten.\n")
        run_as.own(fresh / "local.conf")
        with (fresh / "postgresql.conf").open("a") as file:
            file.write("\ninclude_if_exists = 'crypto_pipeline.conf'\ninclude_if_exists = 'local.conf'\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self.data)
        _sync_folder(self.folder)

    def _configure(self, run_as: runas.RunAs) -> None:
        text = render(self.binaries, host=self.host, port=self._port(), sockets=self._run, logs=self._logs)
        path = self.data / "crypto_pipeline.conf"
        _write_whole(path, text)
        run_as.own(path)

    def _password(self) -> Path:
        path = self.folder / "password"
        if not path.exists():
            if (self.data / "PG_VERSION").exists():
                raise StoreError(f"{path} is missing: restore the database's password file from a backup")
            _write_whole(path, secrets.token_urlsafe(32))
        return path

    def _port(self) -> int:
        """The port of the last start; if another program uses it, a new one, which is kept."""
        path = self.folder / "port"
        try:
            kept = int(path.read_text())
        except (FileNotFoundError, ValueError):
            kept = None
        if kept is not None and _is_free(self.host, kept):
            return kept
        for candidate in random.sample(_PORTS, len(_PORTS)):
            if _is_free(self.host, candidate):
                _write_whole(path, str(candidate))
                return candidate
        raise StoreError(
            f"no port between {_PORTS.start} and {_PORTS.stop} is free on {self.host}: free one for PostgreSQL"
        )

    # -- messages of failures -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """Turn errors of the file system within the block into StoreErrors of one line."""
        try:
            yield
        except OSError as error:
            raise self._refusal(
                error.errno or 0, str(error.filename or self.folder), os.strerror(error.errno or 0)
            ) from None

    def _refusal(self, number: int, path: str, said: str) -> StoreError:
        if number in _FULL:
            return StoreError(
                f"the disk of {self.folder} is full: free some space or set CRYPTO_PIPELINE_DATA_DIR to another disk"
            )
        if number in (errno.EROFS, errno.EACCES, errno.EPERM):
            return StoreError(
                f"cannot write {path} ({said}): give this user write access or set CRYPTO_PIPELINE_DATA_DIR "
                "to another folder"
            )
        return StoreError(
            f"cannot use {path} as data directory ({said}): set CRYPTO_PIPELINE_DATA_DIR to another folder"
        )

    def _failure(self, said: str) -> StoreError:
        """The StoreError for output of initdb or the server."""
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            if os.strerror(number) in said:
                return self._refusal(number, str(self.folder), os.strerror(number))
        lines = [line for line in said.splitlines() if "error:" in line or "FATAL:" in line or "PANIC:" in line]
        reason = (lines or said.strip().splitlines() or ["it gave no reason"])[-1]
        return StoreError(f"PostgreSQL in {self.folder} failed: {reason.strip()}")

    def start_log(self) -> BinaryIO:
        """File for the server's output before its log is open; emptied at each start."""
        return (self._logs / "start.log").open("wb")

    def last_words(self) -> str:
        """The newest error in the logs, with the path of the log."""
        newest = sorted(self._logs.glob("*.log"), key=lambda path: path.stat().st_mtime)
        for path in reversed(newest):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - 20_000))
                tail = file.read().decode(errors="replace")
            for line in reversed(tail.splitlines()):
                if any(word in line for word in ("FATAL:", "PANIC:", "error:")) and "starting up" not in line:
                    return str(self._failure(line)) + f" (see {path})"
        return f"see {self._logs}"


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _write_whole(path: Path, text: str) -> None:
    """Write a file atomically, readable by its owner only."""
    fresh = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
