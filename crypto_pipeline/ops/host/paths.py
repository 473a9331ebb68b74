"""Paths of a data directory, the lock of its supervisor, and the state file that says what runs."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host.disk_space import FULL

#: Longest path of a unix socket, in bytes: the kernel allows 108 with the closing zero.
_LONGEST_SOCKET = 100


class Places:
    """Files and folders of supervision in one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir: Final = data_dir
        #: Folder of generated configuration, sockets, locks and logs; only its owner may enter.
        self.run: Final = data_dir / "run"
        #: One log file per program.
        self.logs: Final = self.run / "logs"
        #: Held by the process that supervises this data directory.
        self.lock: Final = self.run / "up.lock"
        #: What runs, for other commands to read: never a secret in it.
        self.state: Final = self.run / "up.json"
        #: DAGSTER_HOME of everything started here.
        self.dagster_home: Final = data_dir / "dagster"
        #: The workspace file that points the webserver and the daemon at our code server.
        self.workspace: Final = self.run / "workspace.yaml"
        #: Generated configuration of supervisord.
        self.supervisord_conf: Final = self.run / "supervisord.conf"
        #: Where the clock of a replay exchange began whose time is not ours (see ``replay_clock``).
        self.replay_clock: Final = self.run / "replay-clock.json"

    def deployment(self) -> str:
        """Identifier of this data directory, made at its first use; a copy at another path gets another one."""
        file = self.run / "deployment"
        where = str(self.data_dir.resolve())
        if file.exists():
            found, _, made_at = file.read_text().strip().partition(" ")
            if found and made_at == where:
                return found
        found = uuid.uuid4().hex[:12]
        new = file.with_suffix(".new")
        new.write_text(f"{found} {where}\n")
        new.replace(file)
        return found

    def replay_token(self) -> str:
        """Token of the replay exchange's control endpoints, made at its first use; only the own user can read the
        file.
        """
        file = self.run / "replay-token"
        if not file.exists():
            descriptor = os.open(new := file.with_suffix(".new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as writing:
                writing.write(secrets.token_urlsafe(24))
            new.replace(file)
        return file.read_text().strip()

    def has_run(self) -> bool:
        """Whether a deployment in this data directory ever had a usable database."""
        return (self.dagster_home / "storage-version").exists()

    def make(self) -> None:
        """Create the folders, private to their owner. Raises OpsError when that is impossible."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            for folder in (self.run, self.logs, self.dagster_home):
                folder.mkdir(exist_ok=True)
                folder.chmod(0o700)
        except OSError as error:
            raise OpsError(
                f"cannot write to the data directory {self.data_dir}: {error.strerror}; "
                "give one that you may write to with --data-dir"
            ) from None

    def socket(self, name: str) -> Path:
        """Path of a unix socket: in the run folder, or in a private folder of /tmp when that path is too long."""
        path = self.run / f"{name}.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET:
            return path
        link = self.run / "sockets"
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(tempfile.mkdtemp(prefix="crypto-pipeline-"))
        return link.resolve() / f"{name}.sock"

    def clear_sockets(self) -> None:
        """Remove the private folder of /tmp, if there is one."""
        link = self.run / "sockets"
        if link.is_symlink():
            shutil.rmtree(link.resolve(), ignore_errors=True)
            link.unlink()


class UpLock:
    """Lock that allows one supervisor per data directory. The kernel releases it when the holder ends in any way."""

    def __init__(self, places: Places) -> None:
        self._path = places.lock
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Try to take the lock; False when another process holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # A command that asks for the holder takes a shared lock for an instant, so try more than once.
        for last in (False, False, False, True):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if last:
                    os.close(descriptor)
                    return False
                time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @classmethod
    def holder(cls, places: Places) -> int | None:
        """Process id of the supervisor of this data directory; None if the lock is free, whatever the file says."""
        if not places.lock.exists():
            return None
        try:
            with places.lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(places.lock.read_text() or 0)
        except PermissionError:
            raise OpsError(f"cannot read {places.lock}: it belongs to another user") from None
        return None


@dataclass
class UpState:
    """State of the supervising process, as written to the state file."""

    pid: int
    phase: str
    started_at: float
    urls: dict[str, str]
    ports: dict[str, int]
    #: Settings that another command could not read by itself (given on the command line), without secrets.
    settings: dict[str, Any]
    #: True when the database is not the embedded one.
    own_database: bool
    supervisor_socket: str
    supervisord_pid: int | None = None

    def write(self, places: Places) -> None:
        """Replace the state file atomically; on a full disk, which has no room for a second file, overwrite it."""
        text = json.dumps(self.__dict__, indent=1, default=str)
        new = places.state.with_suffix(".new")
        try:
            new.write_text(text)
        except OSError as error:
            new.unlink(missing_ok=True)
            if error.errno not in FULL:
                raise
            with places.state.open("r+b", buffering=0) as file:
                file.write(text.encode())
                file.truncate()
            return
        new.chmod(0o600)
        new.replace(places.state)

    @classmethod
    def read(cls, places: Places) -> UpState | None:
        """The last state written, whether or not its writer still runs; None if there is none. Raises OpsError."""
        try:
            return cls(**json.loads(places.state.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise OpsError(f"cannot read {places.state}: {error}; delete the file if nothing runs") from None
        except OSError as error:
            raise OpsError(f"cannot read {places.state}: {error.strerror}") from None


def running_state(places: Places) -> UpState | None:
    """State of the supervisor that holds the lock now, or None when nothing runs."""
    holder = UpLock.holder(places)
    if holder is None:
        return None
    state = UpState.read(places)
    if state is not None and state.pid == holder:
        return state
    return UpState(holder, "starting", time.time(), {}, {}, {}, False, str(places.socket("supervisor")))
