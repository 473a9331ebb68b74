"""How runs are handed over: queues, names and the configuration of Celery that launcher and workers share."""

from __future__ import annotations

from typing import Any

#: Queues of redis. Live ingest has its own: its runs go on for hours, and a worker may serve one of both alone.
RUNS, INGEST = "runs", "ingest"
#: The heartbeat row of a worker is called so, followed by its name.
WORKER_ROW = "run-worker:"
#: Seconds after which a message that a worker took, but did not begin, is given to another one.
_TAKEN_AGAIN = 15
_WEEK = 7 * 24 * 3600.0

#: Settings of Celery, for the launcher and for workers.
CELERY: dict[str, Any] = {
    # A worker takes a run only when it has a free slot: none waits behind a long one while another worker is idle.
    "worker_disable_prefetch": True,
    "worker_prefetch_multiplier": 1,
    # Each run has a process of its own, forked from one that has imported everything.
    "worker_max_tasks_per_child": 1,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_enable_remote_control": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_transport_options": {
        "visibility_timeout": _TAKEN_AGAIN,
        # In the order of the alphabet: a free slot takes a run of ingest before others.
        "queue_order_strategy": "sorted",
        "max_retries": 3,
        "interval_start": 0,
        "interval_step": 0.2,
        "interval_max": 0.5,
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "health_check_interval": 10,
    },
    "result_backend_transport_options": {
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
    },
    # A run may go on for days, and its result is looked at until it ends.
    "result_expires": _WEEK,
    "task_default_queue": RUNS,
    "task_acks_late": False,
}


def row_name(name: str) -> str:
    """Name of the heartbeat row of the worker ``name``."""
    return f"{WORKER_ROW}{name}"
