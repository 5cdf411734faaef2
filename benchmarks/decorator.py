"""Calls of a decorated function that does nothing."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import wrapt

from benchmarks.measure import Effort, awaits, calls, compare, net_costs
from benchmarks.neighbours import DECORATORS, around_function
from benchmarks.row import OURS, Row, limited
from hl_sessions import SessionManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Run

__all__ = ["decorator_rows"]

BARE = "bare"
LIMIT = "hand-written with wrapt"
_session_id: ContextVar[str | None] = ContextVar("session_id", default=None)


@wrapt.decorator
def _hand_written(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    token = _session_id.set("sesh_1")
    try:
        return wrapped(*args, **kwargs)
    finally:
        _session_id.reset(token)


@wrapt.decorator
async def _hand_written_async(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    token = _session_id.set("sesh_1")
    try:
        return await wrapped(*args, **kwargs)
    finally:
        _session_id.reset(token)


def _no_op() -> None:
    pass


async def _async_no_op() -> None:
    pass


def decorator_rows(effort: Effort) -> Iterator[Row]:
    """Measure ``with_session``."""
    kinds: tuple[tuple[str, Any, Any, Callable[[Any], Run]], ...] = (
        ("with_session, function", _no_op, _hand_written, calls),
        ("with_session, coroutine function", _async_no_op, _hand_written_async, awaits),
    )
    with SessionManager() as manager:
        for title, no_op, hand_written, run in kinds:
            decorators = {
                BARE: lambda function: function,
                LIMIT: hand_written,
                OURS: manager.with_session,
                **DECORATORS,
            }
            functions = around_function(decorators, no_op)
            seconds = compare({name: run(function) for name, function in functions.items()}, effort)
            yield limited(title, net_costs(seconds, BARE), times=1.25, reference=LIMIT)
