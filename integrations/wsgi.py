"""A session for each request of a WSGI application.

.. code-block:: python

    app = HLSessionMiddleware(app)
"""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any

from hl_sessions.integrations.cookies import BrowserSession, SignedCookie
from hl_sessions.integrations.gateway import Request
from hl_sessions.integrations.keys import django_path_param, header, json_field, path_param, query
from hl_sessions.integrations.middleware import MiddlewareBase
from hl_sessions.scopes.scope import open_session
from hl_sessions.sessions.current import enter_session, innermost_session, leave_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, MutableMapping

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from hl_sessions.integrations.incoming import Incoming
    from hl_sessions.manager import SessionManager
    from hl_sessions.sessions.session import Session

__all__ = [
    "HLSessionMiddleware",
    "SignedCookie",
    "header",
    "json_field",
    "path_param",
    "query",
]

#: Bodies of which no part is made while they are sent, and which servers treat specially.
_FINISHED = frozenset({list, tuple, io.BufferedRandom, io.BufferedReader, io.BytesIO, io.FileIO})


class HLSessionMiddleware(MiddlewareBase):
    """WSGI middleware that makes each request the scope of a session.

    The scope lasts until the server closes the response: a body that is made while it is sent runs in it,
    step by step, so that streams interleaved on one thread never see each other's session.

    Its arguments are those of :class:`~hl_sessions.integrations.middleware.MiddlewareBase`.
    """

    app: WSGIApplication

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Run the application in the scope of a session."""
        manager = self._manager or self._find_manager()
        if manager is None:
            return self.app(environ, start_response)
        opened: Session | None = None
        if self._incoming is not None:
            session, is_joined = self._open(manager, self._incoming, environ)
            opened = None if is_joined else session
        else:
            session = manager.new_session() if innermost_session() is None else open_session(manager)[0]
        if self._response_header is not None or isinstance(session, BrowserSession):
            start_response = _WithHeaders(start_response, partial(self._headers_to_add, session))
        token = enter_session(session)
        is_finished = True
        try:
            body = self.app(environ, start_response)
            is_finished = type(body) in _FINISHED or _is_file_wrapper(body, environ)
        finally:
            leave_session(token)
            if is_finished and opened is not None:
                opened._leave()
        if is_finished:
            return body
        return (_SizedBody if hasattr(body, "__len__") else _Body)(body, session, opened)

    def _open(
        self, manager: SessionManager, incoming: Incoming, environ: WSGIEnvironment
    ) -> tuple[Session, bool]:
        request = _Request(environ, self._native_request)
        if incoming.max_body and request.is_json():
            request.read_body(incoming.max_body)
        return open_session(manager, make=lambda: incoming.session(manager, request))

    def _native_request(self, environ: MutableMapping[str, Any]) -> Any:
        """Give the request object that functions of the user are given."""
        return environ


class _Request(Request):
    @property
    def content_type(self) -> str:
        content_type: str = self._scope.get("CONTENT_TYPE", "")
        return content_type

    @property
    def peer(self) -> str:
        peer: str = self._scope.get("REMOTE_ADDR", "")
        return peer

    @property
    def is_secure(self) -> bool:
        return self._scope.get("wsgi.url_scheme") == "https"

    @property
    def query_string(self) -> bytes:
        query_string: str = self._scope.get("QUERY_STRING", "")
        return query_string.encode("latin-1", "replace")

    def headers(self, name: str) -> list[str]:
        value = self._scope.get("HTTP_" + name.upper().replace("-", "_"))
        return [] if value is None else [value]

    def path_param(self, name: str) -> object:
        request = self._scope.get("werkzeug.request")  # of Flask
        if request is not None:
            return (request.view_args or {}).get(name)
        return django_path_param(self._scope.get("PATH_INFO", ""), name)

    def read_body(self, limit: int) -> None:
        """Read the body, and put one there that can be read once more; one over ``limit`` bytes is left."""
        body, length = self._scope["wsgi.input"], self._scope.get("CONTENT_LENGTH") or None
        if length is None and not self._scope.get("wsgi.input_terminated"):
            return  # there is none, or nothing says where it ends
        try:
            size = limit + 1 if length is None else int(length)
        except ValueError:
            return
        if length is not None and not 0 <= size <= limit:
            return
        try:
            start = body.read(size)
        except Exception:  # noqa: BLE001 - the application meets it when it reads
            return
        if len(start) <= limit:
            self._body = start
            self._scope["wsgi.input"] = io.BytesIO(start)
        else:
            self._scope["wsgi.input"] = io.BufferedReader(_Chained(start, body))


class _Chained(io.RawIOBase):
    """What was read of a body already, and then the rest of it."""

    def __init__(self, start: bytes, rest: Any) -> None:
        self._start = start
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._start:
            chunk, self._start = self._start[: len(buffer)], self._start[len(buffer) :]
        else:
            chunk = self._rest.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _is_file_wrapper(body: object, environ: WSGIEnvironment) -> bool:
    file_wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(file_wrapper, type) and isinstance(body, file_wrapper)


class _WithHeaders:
    """A ``start_response`` that adds headers.

    Args:
        start_response: that of the server.
        headers_to_add: returns the headers that a response lacks, given what returns those that it has.
    """

    def __init__(
        self,
        start_response: StartResponse,
        headers_to_add: Callable[[Callable[[], list[tuple[str, str]]]], list[tuple[str, str]]],
    ) -> None:
        self._start_response = start_response
        self._headers_to_add = headers_to_add

    def __call__(self, status: str, headers: list[tuple[str, str]], *exc_info: Any, **options: Any) -> Any:
        missing = self._headers_to_add(lambda: headers)
        if missing:
            headers = [*headers, *missing]
        return self._start_response(status, headers, *exc_info, **options)


class _Body:
    """A response body, each step of which runs in the scope of its session."""

    def __init__(self, body: Iterable[bytes], session: Session, opened: Session | None) -> None:
        self._body = body
        self._opened = opened
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
            if self._opened is not None:
                self._opened._leave()


class _SizedBody(_Body):
    """A body with a length, from which servers derive ``Content-Length``."""

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]
