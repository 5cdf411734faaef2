"""Exceptions of the application that are raised in the middle of what this package does."""

from __future__ import annotations

import sys

from hl_sessions.errors import HLSessionsError

__all__ = ["is_interruption"]

_OF_A_CALL = (HLSessionsError, OSError)
# Their subclasses, too, are a call's own, wherever they are written. Named, so that none need be loaded.
_ERRORS_OF_A_CALL = frozenset({("urllib3.exceptions", "HTTPError"), ("http.client", "HTTPException")})
# Who may raise while a call is made, besides Python itself.
_PACKAGES = frozenset(
    {"requests", "urllib3", "charset_normalizer", "idna", "OpenSSL", "cryptography", "socks", "gevent"}
)


def is_interruption(error: BaseException) -> bool:
    """Whether an exception is none of a call's own, as the time limit of a job that a signal handler raises.

    It is for the application, and says nothing about the sessions API. What a signal handler raises of
    Python's own types, such as ``TimeoutError``, cannot be told from a failure of the call.
    """
    if not isinstance(error, Exception):
        return True
    package = type(error).__module__.partition(".")[0]
    is_foreign = package not in _PACKAGES and package not in sys.stdlib_module_names
    return is_foreign and not isinstance(error, _OF_A_CALL) and not _is_named(type(error))


def _is_named(kind: type[BaseException]) -> bool:
    return any((base.__module__, base.__name__) in _ERRORS_OF_A_CALL for base in kind.__mro__)
