"""Tells of scopes that are opened, such as to what traces the request around them.

Joining the session of a scope around opens none. An observer is called in the context of the scope, where its
session may be current already, or not yet; it must not wait. What it raises is shown, and stops nobody.
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

# Lists, which their users test before they call: an empty one costs a request nothing.

#: Called with the session of each request.
request_observers: list[Observer] = []
#: Called with the session of each other scope: of a job, a call, a ``with`` statement.
scope_observers: list[Observer] = []


def observe_requests(observer: Observer) -> None:
    """Have a function called with the session of each request from now on."""
    if observer not in request_observers:
        request_observers.append(observer)


def observe_scopes(observer: Observer) -> None:
    """Have a function called with the session of each request and of each other scope from now on."""
    observe_requests(observer)
    if observer not in scope_observers:
        scope_observers.append(observer)


def unobserve(observer: Observer) -> None:
    """Have a function called no longer."""
    for observers in (request_observers, scope_observers):
        with suppress(ValueError):  # it is not called for those, or another thread was quicker
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
        except Exception as error:  # noqa: BLE001, PERF203 - the application has nothing to do with it
            show(error)
