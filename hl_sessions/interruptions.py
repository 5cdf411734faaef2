"""Exceptions of the application that are raised in the middle of what this package does."""

from __future__ import annotations

import sys
from http.client import HTTPException

from urllib3.exceptions import HTTPError

from hl_sessions.errors import HLSessionsError

__all__ = ["is_interruption"]

_OF_A_CALL = (HLSessionsError, OSError, HTTPError, HTTPException)
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
    return is_foreign and not isinstance(error, _OF_A_CALL)
