"""Keeps Python's search for garbage cycles small in a process that only serves."""

import gc
import sys
from typing import Final

_ALLOCATIONS: Final = 20_000
"""How many new objects start a search. Python's default of 700 is reached within a few requests."""


def search_less() -> None:
    """Leave all current objects out of the search for garbage, and search less often.

    Objects that a server loads at its start stay until its end: some hundred thousand. Searching them again
    and again took a fifth of the time of its requests.
    """
    if sys.implementation.name != "cpython":  # PyPy searches in another way, and cannot be told
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 20, 50)
