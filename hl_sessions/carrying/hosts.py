"""Names of hosts, as lists of hosts and the header ``Host`` have them."""

from __future__ import annotations

import re

__all__ = ["host_name", "parsed_host", "shown_host"]

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_.-]+)(?::(?P<port>[0-9]{1,5}))?")
MAX_PORT = 65535


def parsed_host(text: object) -> tuple[str, int | None] | None:
    """Return the name of a host and its port, ``None`` if it is not the name of one.

    The name is in the form in which names are compared: in lower case, without final dot and brackets.
    """
    match = _HOST.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 0 < port <= MAX_PORT:
        return None
    return match["name"].strip("[]").lower().removesuffix("."), port


def host_name(text: object) -> str | None:
    """Return the name of a host without its port, in the same form, ``None`` if it is not the name of one.

    An address of IPv6 may stand without brackets, as it does in parts of a URL.
    """
    parsed = parsed_host(text)
    if parsed is None and isinstance(text, str):
        parsed = parsed_host(f"[{text}]")
    return None if parsed is None else parsed[0]


def shown_host(value: object) -> str:
    """Return what an error may show of something that should be the name of a host."""
    return "a URL (not shown)" if "@" in repr(value) else repr(value)  # which may have a password
