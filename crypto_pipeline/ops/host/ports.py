"""Ports: a free one is picked if none is set; a port that is set is checked before anything starts."""

from __future__ import annotations

import socket

from crypto_pipeline.ops.errors import OpsError


def free_port(host: str) -> int:
    """A port of ``host`` without a listener now."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def claim_port(host: str, port: int, what: str, option: str) -> int:
    """Return ``port``, or a free one for 0. OpsError names a port that is taken and the option that changes it."""
    if port == 0:
        return free_port(host)
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT is free, a port with a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except PermissionError:
            raise OpsError(
                f"port {port} for {what} is reserved for root: choose one above 1023 with {option} N"
            ) from None
        except OSError as error:
            if "in use" in str(error):
                raise OpsError(
                    f"port {port} for {what} is in use on {host}: choose another with {option} N (0 picks a free one)"
                ) from None
            raise OpsError(f"cannot listen on {host}:{port} for {what}: {error.strerror}") from None
    return port


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
