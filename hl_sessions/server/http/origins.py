"""Where a call comes from: a page of this server, this machine, or elsewhere."""

from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_same_origin(origin: str, host: str) -> bool:
    """Tell whether a page of this server has sent a call.

    The schemes are not compared: a proxy before the server may have changed it. A browser writes a port that
    is its scheme's default into neither of the headers.

    Args:
        origin: The header ``Origin``.
        host: The header ``Host``.
    """
    try:
        return bool(host) and urlsplit(origin).netloc == host
    except ValueError:
        return False


# Asked of every request to an open server.
@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Tell whether ``host``, a name or an address without port and brackets, can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
