"""The user that runs PostgreSQL. PostgreSQL refuses to run as root, so root changes to another user for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crypto_pipeline.store.database.errors import StoreError

NOBODY = 65534


@dataclass(frozen=True, slots=True)
class RunAs:
    """How to start a program: a prefix of its command line, and the user to change to before."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None

    def popen_arguments(self) -> dict[str, Any]:
        """Keyword arguments for subprocess."""
        return {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": []}

    def step_down(self) -> None:
        """Change this process to the user; for use right before exec."""
        if self.uid is not None:
            os.setgroups([])
            os.setgid(self.uid)
            os.setuid(self.uid)

    def own(self, path: Path) -> None:
        """Give a file or folder to that user."""
        if self.uid is not None:
            os.chown(path, self.uid, self.uid)


def choose(folder: Path, program: Path) -> RunAs:
    """How to run ``program`` on ``folder`` (which need not exist). An existing folder keeps its owner. Raises
    StoreError.
    """
    me = os.geteuid()
    owner = folder.stat().st_uid if folder.exists() else me
    if me != 0:
        if owner != me:
            raise StoreError(
                f"{folder} belongs to user {owner} and this is user {me}: run as its owner, or set "
                "CRYPTO_PIPELINE_DATA_DIR to a folder of your own"
            )
        return RunAs()
    if owner != 0:
        return _checked(RunAs(uid=owner), folder, program)
    if prefix := _namespace():
        return RunAs(prefix=prefix)
    return _checked(RunAs(uid=NOBODY), folder, program)


def _namespace() -> tuple[str, ...]:
    """Prefix for a user namespace in which root appears as nobody: files stay root's, and PostgreSQL accepts the
    user.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    prefix = (unshare, "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--")
    answer = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if answer.returncode == 0 else ()


def _checked(chosen: RunAs, folder: Path, program: Path) -> RunAs:
    """Raise StoreError if the user cannot enter the folder: permissions of parent folders are never changed."""
    for path in (folder, program):
        for parent in path.absolute().parents:
            if parent.exists() and not _may_pass(parent, chosen.uid):
                raise StoreError(
                    f"PostgreSQL cannot run as root, and user {chosen.uid} cannot enter {parent}: run as another user, "
                    "or set CRYPTO_PIPELINE_DATA_DIR to a folder that all may enter, like /var/lib/crypto_pipeline"
                )
    return chosen


def _may_pass(folder: Path, uid: int | None) -> bool:
    found = folder.stat()
    return bool(found.st_mode & (0o100 if found.st_uid == uid else 0o001))
