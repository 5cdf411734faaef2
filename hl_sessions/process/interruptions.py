"""Exceptions of the application that interrupt the code of this package."""

from __future__ import annotations

import sys

from hl_sessions.errors import HLSessionsError

__all__ = ["is_interruption"]

_OF_A_CALL = (HLSessionsError, OSError)
# Subclasses of these in any module are errors of a call, too. By name, so that the modules are not loaded.
_ERRORS_OF_A_CALL = frozenset({("urllib3.exceptions", "HTTPError"), ("http.client", "HTTPException")})
# The packages whose exceptions a call may raise, besides those of Python itself.
_PACKAGES = frozenset(
    {"requests", "urllib3", "charset_normalizer", "idna", "OpenSSL", "cryptography", "socks", "gevent"}
)


def is_interruption(error: BaseException) -> bool:
    """Whether an exception is no error of a call, such as a job's time limit, which a signal handler raises.

    An interruption is for the application, and tells nothing about the sessions API. If a signal handler
    raises a type of Python, such as ``TimeoutError``, it cannot be distinguished from an error of the call.
    """
    if not isinstance(error, Exception):
        return True
    package = type(error).__module__.partition(".")[0]
    is_foreign = package not in _PACKAGES and package not in sys.stdlib_module_names
    return is_foreign and not isinstance(error, _OF_A_CALL) and not _is_named(type(error))


def _is_named(kind: type[BaseException]) -> bool:
    return any((base.__module__, base.__name__) in _ERRORS_OF_A_CALL for base in kind.__mro__)
