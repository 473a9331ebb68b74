"""The embedded server's configuration: sized for the machine, and written at every start."""

from __future__ import annotations

import os
from pathlib import Path

from crypto_pipeline.store.embedded.binaries import Binaries

MB = 1024 * 1024
#: limit of a socket's path in bytes, with the name that PostgreSQL appends
_SOCKET_PATH = 107


def memory() -> int:
    """Bytes of memory for this process: the machine's memory, or the container's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no such limit, or "max"
            continue
    return total


def socket_folder(folder: Path, port: int) -> str:
    """Folder of the unix socket; empty if its path would be too long."""
    path = folder / f".s.PGSQL.{port}.lock"
    return str(folder) if len(os.fsencode(path)) < _SOCKET_PATH else ""


def render(binaries: Binaries, *, host: str, port: int, sockets: Path, logs: Path) -> str:
    """The text of the configuration file."""
    ram = memory()
    preload = "pg_stat_statements" if binaries.has_library("pg_stat_statements") else ""
    options = {
        "listen_addresses": host,
        "port": port,
        "unix_socket_directories": socket_folder(sockets, port),
        "unix_socket_permissions": "0700",
        "max_connections": 200,
        "password_encryption": "scram-sha-256",
        # The page cache serves reads as well, and tools count these buffers as memory of each process that used them.
        "shared_buffers": f"{_between(ram // 20, 64 * MB, 768 * MB) // MB}MB",
        "effective_cache_size": f"{max(ram // 2, 128 * MB) // MB}MB",
        "work_mem": f"{_between(ram // 256, 8 * MB, 64 * MB) // MB}MB",
        "maintenance_work_mem": f"{_between(ram // 32, 64 * MB, 256 * MB) // MB}MB",
        "dynamic_shared_memory_type": "posix" if _shm_is_roomy() else "mmap",
        **_write_ahead_log(),
        "jit": "off",
        "random_page_cost": 1.1,
        "max_parallel_workers_per_gather": 2 if (os.cpu_count() or 1) > 2 else 1,
        # A query whose client was killed must not keep its locks.
        "client_connection_check_interval": "2s",
        "idle_in_transaction_session_timeout": "15min",
        "tcp_keepalives_idle": 60,
        "max_locks_per_transaction": 256,
        "shared_preload_libraries": preload,
        "track_io_timing": "on",
        **_logging(logs),
    }
    if binaries.version >= 16:
        options["scram_iterations"] = 4096  # for passwords that people set; our own random one does not need them
    lines = [f"{name} = {_quoted(value)}" for name, value in options.items()]
    return (
        "# Written at every start. Your own settings go into local.conf beside this file.\n" + "\n".join(lines) + "\n"
    )


def _write_ahead_log() -> dict[str, object]:
    return {
        # Recovery after a kill reads at most this much of the log.
        "max_wal_size": "2GB",
        "min_wal_size": "128MB",
        "checkpoint_timeout": "10min",
        # The binaries have only pglz, which takes ten times as long for a page as writing it.
        "wal_compression": "off",
        "wal_level": "minimal",
        "max_wal_senders": 0,
    }


def _logging(folder: Path) -> dict[str, object]:
    """Options of the server's log."""
    return {
        "timezone": "UTC",
        "log_timezone": "UTC",
        "logging_collector": "on",
        # One file per weekday, overwritten a week later.
        "log_directory": str(folder),
        "log_filename": "postgresql-%a.log",
        "log_rotation_age": "1d",
        "log_rotation_size": 0,
        "log_truncate_on_rotation": "on",
        "log_file_mode": "0600",
        "log_line_prefix": "%m [%p] %q%a ",
        "log_min_duration_statement": "5s",
        "log_lock_waits": "on",
    }


def _between(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _quoted(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace("'", "''")
    return f"'{text}'"


def _shm_is_roomy() -> bool:
    """Whether /dev/shm is large enough for parallel queries: containers often have only 64 MB."""
    try:
        found = os.statvfs("/dev/shm")  # noqa: S108  (asked for its size, nothing is written)
    except OSError:
        return False
    return found.f_frsize * found.f_bavail > 512 * MB
