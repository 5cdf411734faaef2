"""A session for each request of a WSGI application.

.. code-block:: python

    app = HLSessionMiddleware(app)
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from hl_sessions.context import enter_session, innermost_session, leave_session
from hl_sessions.headers import checked_header_name
from hl_sessions.manager import SessionManager, checked_manager, default_manager
from hl_sessions.scope import open_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from hl_sessions.session import Session

__all__ = ["HLSessionMiddleware"]

#: Bodies of which no part is made while they are sent, and which servers treat specially.
_FINISHED = frozenset({list, tuple, io.BufferedRandom, io.BufferedReader, io.BytesIO, io.FileIO})


class HLSessionMiddleware:
    """WSGI middleware that makes each request the scope of a session.

    The scope lasts until the server closes the response: a body that is made while it is sent runs in it,
    step by step, so that streams interleaved on one thread never see each other's session.

    Args:
        app: the WSGI application.
        manager: opens the sessions; ``None``: the one of :func:`hl_sessions.configure`.
        response_header: the name of a header that tells the client the session ID, if there is one when
            the response starts; ``None``: no header.

    Raises:
        ConfigurationError: ``manager`` is not a manager, or ``response_header`` not a header name.
    """

    def __init__(
        self,
        app: WSGIApplication,
        manager: SessionManager | None = None,
        *,
        response_header: str | None = None,
    ) -> None:
        self.app = app
        self._manager = checked_manager(manager)
        self._response_header = (
            None if response_header is None else checked_header_name("response_header", response_header)
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Run the application in the scope of a session."""
        manager = self._manager or default_manager()
        session = manager.new_session() if innermost_session() is None else open_session(manager)[0]
        if self._response_header is not None:
            start_response = _WithHeader(start_response, self._response_header, session)
        token = enter_session(session)
        try:
            body = self.app(environ, start_response)
        finally:
            leave_session(token)
        if type(body) in _FINISHED or _is_file_wrapper(body, environ):
            return body
        return (_SizedBody if hasattr(body, "__len__") else _Body)(body, session)


def _is_file_wrapper(body: object, environ: WSGIEnvironment) -> bool:
    file_wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(file_wrapper, type) and isinstance(body, file_wrapper)


class _WithHeader:
    """A ``start_response`` that adds the session ID, if there is one by then."""

    def __init__(self, start_response: StartResponse, name: str, session: Session) -> None:
        self._start_response = start_response
        self._name = name
        self._session = session

    def __call__(self, status: str, headers: list[tuple[str, str]], *exc_info: Any, **options: Any) -> Any:
        session_id = self._session.peek()
        if session_id is not None and not any(name.lower() == self._name.lower() for name, _ in headers):
            headers = [*headers, (self._name, session_id)]
        return self._start_response(status, headers, *exc_info, **options)


class _Body:
    """A response body, each step of which runs in the scope of its session."""

    def __init__(self, body: Iterable[bytes], session: Session) -> None:
        self._body = body
        self._current: Session | None = session  # in a scope that the body has entered itself: that one's
        self._iterator: Iterator[bytes] | None = None
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = enter_session(self._current)
        try:
            if self._iterator is None:
                self._iterator = iter(self._body)
            return next(self._iterator)
        finally:
            self._current = innermost_session()
            leave_session(token)

    def close(self) -> None:
        """Close the body of the application, once."""
        if self._is_closed:
            return
        self._is_closed = True
        token = enter_session(self._current)
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            leave_session(token)


class _SizedBody(_Body):
    """A body with a length, from which servers derive ``Content-Length``."""

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]
