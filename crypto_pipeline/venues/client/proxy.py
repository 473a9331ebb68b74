"""The proxy for an address, from the usual environment variables."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from crypto_pipeline.venues.protocol import VenueError


class ProxyRefused(VenueError):  # noqa: N818
    """A proxy setting is unusable. The message contains no user name and no password."""

    permanent = True


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """An HTTP proxy. ``repr`` shows neither its user name nor its password."""

    #: ``http://host:port`` or ``https://host:port``
    url: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def auth(self) -> tuple[str, str] | None:
        """User name and password, if there are any."""
        return (self.username, self.password) if self.username else None


def proxy_for(url: str) -> HttpProxy | None:
    """The proxy for an ``http``, ``https``, ``ws`` or ``wss`` address; None for a direct connection.

    ``HTTPS_PROXY`` is for https and wss, ``HTTP_PROXY`` for http and ws, ``ALL_PROXY`` for both where the first are not
    set. ``NO_PROXY`` lists hosts with direct connections; this machine always has one. Lower-case names work as well.
    Raises ProxyRefused for an address that is not an HTTP proxy.
    """
    address = urlsplit(url)
    host = address.hostname or ""
    if _is_this_machine(host):
        return None
    proxies = getproxies()
    scheme = {"ws": "http", "wss": "https"}.get(address.scheme, address.scheme)
    variable, stated = f"{scheme.upper()}_PROXY", proxies.get(scheme)
    if stated is None:
        variable, stated = "ALL_PROXY", proxies.get("all")
    if not stated or proxy_bypass(f"{host}:{address.port}" if address.port else host):
        return None
    return _parsed(stated, variable)


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parsed(stated: str, variable: str) -> HttpProxy:
    address = urlsplit(stated if "://" in stated else f"http://{stated}")
    try:
        host, port = address.hostname, address.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ProxyRefused(f"{variable} is not the address of a proxy: write it as http://host:port")
    if address.scheme not in ("http", "https"):
        raise ProxyRefused(f"{variable} names a {address.scheme[:20]} proxy: use one of http or https")
    where = f"[{host}]" if ":" in host else host
    return HttpProxy(
        f"{address.scheme}://{where}:{port or (443 if address.scheme == 'https' else 80)}",
        unquote(address.username or ""),
        unquote(address.password or ""),
    )
