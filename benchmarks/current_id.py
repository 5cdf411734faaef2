"""Reading the ID of a session that has been created."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from benchmarks.api import sessions_api
from benchmarks.measure import Effort, calls, compare, empty_loop, net_costs
from benchmarks.neighbours import OPENTELEMETRY, get_baggage, installed
from benchmarks.row import OURS, Row, limited
from hl_sessions import SessionManager, current_session_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["current_id_rows"]

LOOP = "loop"
GET = "ContextVar.get()"


def current_id_rows(effort: Effort) -> Iterator[Row]:
    """Measure ``current_session_id()``."""
    session_id: ContextVar[str] = ContextVar("session_id", default="sesh_1")
    with sessions_api() as api, SessionManager(api.base_url) as manager, manager.session() as session:
        if session.id is None:
            raise RuntimeError("the session could not be created")
        readers: dict[str, Callable[[], object]] = {GET: session_id.get, OURS: current_session_id}
        readers |= installed({f"{OPENTELEMETRY} baggage": get_baggage})
        runs = {LOOP: empty_loop} | {name: calls(reader) for name, reader in readers.items()}
        seconds = compare(runs, effort)
    yield limited("current_session_id(), created", net_costs(seconds, LOOP), times=6, reference=GET)
