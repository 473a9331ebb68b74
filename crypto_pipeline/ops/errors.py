"""The error that ``ops`` raises."""

from __future__ import annotations


class OpsError(Exception):
    """A person must change something; the message is one line that names the value and the fix."""
