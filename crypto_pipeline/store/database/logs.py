"""What the drivers log, for entry points of programs: importing this package sets no logger."""

from __future__ import annotations

import logging


def quiet_drivers() -> None:
    """Have psycopg's pool log errors alone.

    Its warnings would fill a program's output while PostgreSQL restarts. What does not recover is raised, in one line.
    """
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
