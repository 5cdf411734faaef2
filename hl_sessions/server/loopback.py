"""Which hosts are this machine itself."""

from functools import lru_cache
from ipaddress import ip_address


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
