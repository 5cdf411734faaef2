"""Tells where a call comes from: a page of this server, this machine, or elsewhere."""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

_DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}


def is_from_own_page(headers: Headers) -> bool:
    """Tell whether a page of this server has sent a call, by its headers.

    The header ``Sec-Fetch-Site`` decides if it is there: the browser has compared the addresses before any
    proxy changed one, and no page can set the header. Old browsers do not send it, and no browser sends it
    over plain HTTP to another machine. Then ``Origin`` and ``Host`` are compared, without the schemes, which
    a proxy may have changed.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    try:
        page, server = urlsplit(headers.get("origin", "")), urlsplit(f"//{headers.get('host', '')}")
        port = _DEFAULT_PORTS.get(page.scheme)
        return (
            port is not None
            and bool(page.hostname)
            and (page.hostname, page.port or port) == (server.hostname, server.port or port)
        )
    except ValueError:
        return False


# Cached, because every request to an open server asks it.
@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Tell whether ``host``, a name or an address without port and brackets, can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
