"""Sets how freed memory is used again, or returned to the system."""

import ctypes
from contextlib import suppress
from typing import Final

# In malloc.h of the GNU C library.
_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD
_ARENA_MAX: Final = -8  # M_ARENA_MAX

_LARGE: Final = 512 * 1024  # bytes

_ARENAS: Final = 2
"""The number of arenas, from which all threads take memory: few threads work at the same time."""


def keep_little_memory() -> None:
    """Have every large block of memory given back to the system as soon as it is free, and others shared.

    The GNU C library does so with large blocks until the first one is freed. From then on it keeps blocks of
    that size: each thread keeps some as large as the largest payload. Smaller ones it keeps in the arena of
    the thread that has freed them, of which there are as many as threads, up to eight for each processor.
    Other libraries are left as they are.
    """
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_ARENA_MAX, _ARENAS)
