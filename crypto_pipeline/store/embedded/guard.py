"""Keeps a PostgreSQL server running while commands use it. A separate script that needs only Python.

``python guard.py USERS_LOCK USER OWNER_FD COMMAND…``: every command that uses the server holds USERS_LOCK shared,
so the exclusive lock is granted once the last of them has ended in any way. Then the server is shut down; new
commands wait for that. OWNER_FD (the owner lock) is passed to the server and closed here, so that only the server
holds it. USER is a user number, or - to keep the current user.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Make the kernel send SIGINT to this process when its parent ends; the setting survives exec."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _main() -> int:
    users_path, uid, lock, *command = sys.argv[1:]
    users = os.open(users_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    become = {} if uid == "-" else {"user": int(uid), "group": int(uid), "extra_groups": []}
    server = subprocess.Popen(
        command,
        pass_fds=(int(lock),),
        preexec_fn=die_with_parent,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        **become,  # type: ignore[call-overload]
    )
    os.close(int(lock))
    threading.Thread(target=lambda: os._exit(server.wait() & 0xFF), daemon=True).start()
    fcntl.flock(users, fcntl.LOCK_EX)
    print("stopping", flush=True)
    server.send_signal(signal.SIGINT)  # fast shutdown
    try:
        server.wait(120)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGQUIT)  # recovery at the next start
        server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(_main())
