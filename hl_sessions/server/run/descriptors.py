"""How many files and connections the system lets this process have open."""

import sys
from contextlib import suppress
from typing import Final

if sys.platform != "win32":
    import resource

_ENOUGH: Final = 65_536
"""More than is ever used; some programs count up to the limit, and there may be none at all."""


def raise_limit() -> None:
    """Let this process, and those that it starts, have open what the system allows."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        # macOS has one more limit, below this one, that it does not tell.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def limit() -> int:
    """Return how many there may be now."""
    if sys.platform == "win32":
        return _ENOUGH
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if soft == resource.RLIM_INFINITY else min(soft, _ENOUGH)
