"""Observers of opened scopes, such as integrations for tracing.

Joining an outer scope opens none. An observer is called in the context of the scope, in which the session may
or may not be current yet. It must not wait. Its exceptions are shown, and not raised.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from hl_sessions.process.saying import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hl_sessions.sessions.session import Session

    Observer = Callable[[Session], object]

__all__ = [
    "note_request",
    "note_scope",
    "observe_requests",
    "observe_scopes",
    "request_observers",
    "scope_observers",
    "unobserve",
]

# Lists that callers test first: an empty one costs a request nothing.

#: Called with the session of each request.
request_observers: list[Observer] = []
#: Called with the session of each other scope: of a job, a call, a ``with`` statement.
scope_observers: list[Observer] = []


def observe_requests(observer: Observer) -> None:
    """Call a function with the session of each request from now on."""
    if observer not in request_observers:
        request_observers.append(observer)


def observe_scopes(observer: Observer) -> None:
    """Call a function with the session of each request, and of each other scope, from now on."""
    observe_requests(observer)
    if observer not in scope_observers:
        scope_observers.append(observer)


def unobserve(observer: Observer) -> None:
    """Stop calling a function."""
    for observers in (request_observers, scope_observers):
        with suppress(ValueError):  # it is not in this list, or another thread was faster
            observers.remove(observer)


def note_request(session: Session) -> None:
    """Tell the observers of a request."""
    _tell(request_observers, session)


def note_scope(session: Session) -> None:
    """Tell the observers of another scope."""
    _tell(scope_observers, session)


def _tell(observers: Iterable[Observer], session: Session) -> None:
    for observer in tuple(observers):
        try:
            observer(session)
        except Exception as error:  # noqa: BLE001, PERF203 - it must not break the application
            show(error)
