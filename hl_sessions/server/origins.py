"""Where a browser says that a call comes from."""

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
