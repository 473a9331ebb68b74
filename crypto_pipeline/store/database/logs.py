"""Log levels of the drivers, set by entry points of programs: importing this package changes no logger."""

from __future__ import annotations

import logging


def quiet_drivers() -> None:
    """Make psycopg's pool log errors only.

    Its warnings would fill a program's output while PostgreSQL restarts. A lasting failure raises a StoreError anyway.
    """
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
