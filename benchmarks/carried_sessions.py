"""A session on its way in a message: naming it, and the scope where it arrives."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from benchmarks.api import sessions_api
from benchmarks.measure import Effort, calls, compare, empty_loop, net_costs
from benchmarks.row import OURS, Row, limited
from hl_sessions import SessionManager
from hl_sessions.carrying import carried, carry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["carried_sessions_rows"]

LOOP = "loop"
SET_AND_RESET = "ContextVar.set() and reset()"


def carried_sessions_rows(effort: Effort) -> Iterator[Row]:
    """Measure ``carry()`` and ``with carried(data)``, the session known."""
    session_id: ContextVar[str] = ContextVar("session_id")

    def set_and_reset() -> None:
        session_id.reset(session_id.set("sesh_1"))

    with sessions_api() as api, SessionManager(api.base_url) as manager, manager.session() as session:
        if session.id is None:
            raise RuntimeError("the session could not be created")
        data = carry()

        def be_in_it() -> None:
            with carried(data, manager):
                pass

        for title, ours, times in (("carry()", carry, 10), ("with carried(data)", be_in_it, 13)):
            contenders: dict[str, Callable[[], object]] = {SET_AND_RESET: set_and_reset, OURS: ours}
            runs = {LOOP: empty_loop} | {name: calls(function) for name, function in contenders.items()}
            costs = net_costs(compare(runs, effort), LOOP)
            yield limited(title, costs, times=times, reference=SET_AND_RESET)
