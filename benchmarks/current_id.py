"""Reading the ID of a session that has been created."""

from __future__ import annotations

from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

from benchmarks.api import sessions_api
from benchmarks.measure import Effort, calls, compare, empty_loop, net_costs
from benchmarks.neighbours import OPENTELEMETRY, get_baggage, installed
from benchmarks.row import OURS, Row, limited
from hl_sessions import SessionManager, current_session_id
from hl_sessions.integrations.wsgi import HLSessionMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Run

__all__ = ["current_id_rows"]

LOOP = "loop"
GET = "ContextVar.get()"
IN_A_SCOPE = "in a scope"


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
        reads = {OURS: _in_request(manager), IN_A_SCOPE: _in_scope(manager)}
        seconds = compare({LOOP: empty_loop} | reads, effort)
    # Noting who reads when a request has ended takes nothing before.
    figures = net_costs(seconds, LOOP)
    yield limited("current_session_id(), in a request", figures, times=1.03, reference=IN_A_SCOPE)


def _in_scope(manager: SessionManager) -> Run:
    reads = calls(current_session_id)

    def run(number: int) -> float:
        with manager.session(new=True):
            current_session_id()
            return reads(number)

    return run


def _in_request(manager: SessionManager) -> Run:
    reads = calls(current_session_id)
    seconds: list[float] = []

    def app(environ: Any, _start_response: Any) -> list[bytes]:
        current_session_id()
        seconds.append(reads(environ["number"]))
        return []

    middleware: Any = HLSessionMiddleware(app, manager)

    def run(number: int) -> float:
        Context().run(middleware, {"number": number}, None)
        return seconds.pop()

    return run
