"""Host names, as they stand in lists of hosts and in the header ``Host``."""

from __future__ import annotations

import re

__all__ = ["host_name", "parsed_host", "shown_host"]

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_.-]+)(?::(?P<port>[0-9]{1,5}))?")
MAX_PORT = 65535


def parsed_host(text: object) -> tuple[str, int | None] | None:
    """Return a host name and its port, ``None`` if the text is no host name.

    The name is in the form for comparisons: in lower case, without final dot and brackets.
    """
    match = _HOST.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 0 < port <= MAX_PORT:
        return None
    return match["name"].strip("[]").lower().removesuffix("."), port


def host_name(text: object) -> str | None:
    """Return a host name without its port, in the form of :func:`parsed_host`; ``None`` if it is none.

    An IPv6 address may lack its brackets, as in the parts of a parsed URL.
    """
    parsed = parsed_host(text)
    if parsed is None and isinstance(text, str):
        parsed = parsed_host(f"[{text}]")
    return None if parsed is None else parsed[0]


def shown_host(value: object) -> str:
    """Return a wrong host name as an error may show it."""
    return "a URL (not shown)" if "@" in repr(value) else repr(value)  # a URL may hold a password
