"""Checks of settings. A wrong setting raises a :class:`ConfigurationError` that names it."""

from __future__ import annotations

import inspect
import re
import threading
from typing import Any
from urllib.parse import urlsplit

from hl_sessions.errors import ConfigurationError

__all__ = [
    "checked_api_key",
    "checked_base_url",
    "checked_count",
    "checked_function",
    "checked_header_name",
    "checked_seconds",
    "checked_share",
    "checked_token",
]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_IN_URL = re.compile(r"(?<=[?#]).+", re.DOTALL)


def checked_base_url(name: str, value: object) -> str:
    """Return the URL without a trailing slash."""
    hint = "give the URL of the API up to its version, like 'http://127.0.0.1:8642/v4'"
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a str, not {type(value).__name__}; {hint}")
    # A password may stand before an @, also in a text that is no URL, and a key in a query.
    may_show = "@" not in value
    shown = f"{name}={_IN_URL.sub('...', value)!r}" if may_show else f"{name} (value not shown)"
    try:
        parts = urlsplit(value)
        has_password, _ = parts.username is not None, parts.port
    except ValueError as error:
        reason = f" ({error})" if may_show else ""
        raise ConfigurationError(f"{name} is not a URL{reason}; {hint}") from None
    if has_password:
        raise ConfigurationError(f"{name} must not hold a user name or password; use api_key")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not value.isprintable() or " " in value:
        raise ConfigurationError(f"{shown} is not an http or https URL; {hint}")
    if "?" in value or "#" in value or "\\" in value:
        raise ConfigurationError(f"{shown} must not have a query, a fragment or a backslash; {hint}")
    try:
        parts.hostname.encode("idna")
    except UnicodeError as error:
        raise ConfigurationError(f"{shown} does not name a host ({error}); {hint}") from None
    return value.rstrip("/")


def checked_api_key(name: str, value: object) -> str:
    """Return the key, which no message shows."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a str, not {type(value).__name__}")
    if not value:
        raise ConfigurationError(f"{name} is empty; leave it out (None) for an API without keys")
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise ConfigurationError(
            f"{name} must be printable ASCII without surrounding spaces (value not shown)"
        )
    return value


def checked_seconds(name: str, value: Any) -> float:
    """Return a positive number of seconds that the clocks of the operating system can count."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError(f"{name}={value!r} must be a number of seconds")
    if not 0 < value <= threading.TIMEOUT_MAX:
        raise ConfigurationError(f"{name}={value!r} must be a positive, finite number of seconds")
    return float(value)


def checked_count(name: str, value: Any, minimum: int = 0) -> int:
    """Return a whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigurationError(f"{name}={value!r} must be a whole number, {minimum} or more")
    return value


def checked_share(name: str, value: Any) -> float:
    """Return a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigurationError(f"{name}={value!r} must be a number from 0 to 1")
    return float(value)


def checked_function(name: str, value: Any) -> Any:
    """Return a function that is no coroutine function."""
    if not callable(value):
        raise ConfigurationError(f"{name} must be a function, not {type(value).__name__}")
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(type(value).__call__):
        raise ConfigurationError(
            f"{name} must be a plain function, not a coroutine function: it is not awaited"
        )
    return value


def checked_header_name(name: str, value: object) -> str:
    """Return the name of a header field."""
    return checked_token(name, value, "a header, like 'X-Session-ID'")


def checked_token(name: str, value: object, of: str) -> str:
    """Return a name that is a token of HTTP; ``of`` describes the named thing, with an example."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ConfigurationError(f"{name}={value!r} is not the name of {of}")
    return value
