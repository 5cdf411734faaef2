"""The limit on the open files and connections of this process."""

import sys
from contextlib import suppress
from typing import Final

if sys.platform != "win32":
    import resource

_ENOUGH: Final = 65_536
"""More descriptors than are ever used. Some programs count up to the limit, so it must not be endless."""


def raise_limit() -> None:
    """Raise the limit on open files of this process and its children as far as the system allows."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        # macOS has one more limit, below this one, that cannot be asked for.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def limit() -> int:
    """Return the current limit on open files."""
    if sys.platform == "win32":
        return _ENOUGH
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if soft == resource.RLIM_INFINITY else min(soft, _ENOUGH)
