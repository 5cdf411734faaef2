"""Sets how freed memory is returned to the system."""

import ctypes
from contextlib import suppress
from typing import Final

_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD in malloc.h of the GNU C library
_LARGE: Final = 512 * 1024  # bytes


def return_large_blocks() -> None:
    """Have every large block of memory given back to the system as soon as it is free.

    The GNU C library does so until the first large block is freed. From then on it keeps blocks of that size:
    each thread keeps some as large as the largest payload. Other libraries are left as they are.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)
