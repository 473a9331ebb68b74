"""The error of this room."""

from __future__ import annotations


class OpsError(Exception):
    """Something a person must change; the message is one line that names the value and the fix."""
