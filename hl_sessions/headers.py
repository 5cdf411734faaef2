"""Header fields that both gateways, ASGI and WSGI, read and write."""

from __future__ import annotations

import re

from hl_sessions.errors import ConfigurationError

__all__ = ["checked_header_name"]

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.1


def checked_header_name(name: str, value: object) -> str:
    """Give the name of a header field.

    Raises:
        ConfigurationError: it is not one.
    """
    if not isinstance(value, str) or not _FIELD_NAME.fullmatch(value):
        raise ConfigurationError(f"{name}={value!r} is not the name of a header, like 'X-Session-ID'")
    return value
