"""The memory that scopes leave behind, and that of an open scope."""

from __future__ import annotations

import gc
import os
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.row import OURS, Row, within
from hl_sessions import SessionManager
from hl_sessions.scopes.scope import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Effort

__all__ = ["memory_rows", "traced_growth"]

AT_ONCE = 1000
_STATM = Path("/proc/self/statm")


def memory_rows(effort: Effort) -> Iterator[Row]:
    """Measure memory; no scope is read, every second one has a conversation key of its own."""
    scopes = f"{effort.scopes:,} scopes"
    with SessionManager() as manager:

        def open_and_leave(number: int) -> None:
            for n in range(number // 2):
                with manager.session():
                    pass
                with manager.session(key=n):
                    pass

        def with_statement() -> object:
            scope = manager.session(new=True)
            scope.__enter__()
            return scope

        open_and_leave(AT_ONCE)  # what is made once is made now
        if _STATM.exists():
            resident = _growth(_resident, lambda: open_and_leave(effort.scopes))
            yield within(f"{scopes}: growth of the process", "KiB", {OURS: resident / 1024}, at_most=256)
        tracemalloc.start()
        try:
            traced = _growth(_traced, lambda: open_and_leave(effort.scopes))
            handle = _size(lambda: open_session(manager, new=True)[0])
            with_one = _size(with_statement)
        finally:
            tracemalloc.stop()
    yield within(f"{scopes}: memory left behind", "bytes", {OURS: traced}, at_most=1024)
    yield within("an open scope", "bytes", {OURS: handle, "in a with statement": with_one}, at_most=200)


def _growth(memory: Callable[[], int], action: Callable[[], object]) -> int:
    """Return the additional memory after ``action``, while its result is kept."""
    gc.collect()
    before = memory()
    kept = action()
    gc.collect()
    growth = memory() - before
    del kept
    return growth


def traced_growth(action: Callable[[], object]) -> int:
    """Return the additional bytes after ``action``, while its result is kept."""
    tracemalloc.start()
    try:
        return _growth(_traced, action)
    finally:
        tracemalloc.stop()


def _size(make: Callable[[], object]) -> float:
    def fill() -> None:
        for n in range(AT_ONCE):
            kept[n] = make()

    kept: list[object] = [None] * AT_ONCE
    return _growth(_traced, fill) / AT_ONCE


def _resident() -> int:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _traced() -> int:
    return tracemalloc.get_traced_memory()[0]
