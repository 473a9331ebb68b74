"""Addresses of servers as URLs write them. No I/O."""

from __future__ import annotations


def base_url(host: str, port: int, scheme: str = "http") -> str:
    """The URL under which a server bound to ``host`` is reached from its own machine.

    An IPv6 address gets its brackets; who listens on every address is reached on this machine's own.
    """
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (names what a person chose, binds nothing)
    name = everywhere.get(host, host).strip("[]")
    return f"{scheme}://[{name}]:{port}" if ":" in name else f"{scheme}://{name}:{port}"
