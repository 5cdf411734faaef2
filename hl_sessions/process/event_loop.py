"""Finds whether an event loop of asyncio or trio runs in this thread.

Neither library is imported before the application has imported it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["is_event_loop_running", "is_running_here", "is_trio_running"]


def is_trio_running() -> bool:
    """Whether this thread is in a task of trio."""
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_task()


def is_running_here(loop: AbstractEventLoop) -> bool:
    """Whether this thread runs this event loop of asyncio."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is loop


def is_event_loop_running() -> bool:
    """Whether a blocking call in this thread would block an event loop."""
    asyncio = sys.modules.get("asyncio")
    return is_trio_running() or (asyncio is not None and asyncio._get_running_loop() is not None)
