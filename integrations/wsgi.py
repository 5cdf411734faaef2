"""A session for each request of a WSGI application.

.. code-block:: python

    app = HLSessionMiddleware(app)
"""

from __future__ import annotations

import io
import sys
from time import monotonic
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, Protocol

from hl_sessions.integrations.cookies import SignedCookie
from hl_sessions.integrations.gateway import SESSION, Request
from hl_sessions.integrations.keys import (
    baggage,
    django_path_param,
    first,
    header,
    json_field,
    path_param,
    query,
)
from hl_sessions.integrations.middleware import MiddlewareBase, missing_headers
from hl_sessions.scopes.scope import open_session
from hl_sessions.sessions.current import (
    enter_session,
    innermost_session,
    leave_session,
    not_left,
    strays,
)
from hl_sessions.sessions.late_reads import note_end, references
from hl_sessions.sessions.opened import note_request, request_observers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, MutableMapping, Sequence

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from hl_sessions.integrations.incoming import Incoming
    from hl_sessions.manager import SessionManager
    from hl_sessions.sessions.session import Session

    class HasEnvironment(Protocol):
        """A request object with its WSGI environment, such as that of Flask."""

        @property
        def environ(self) -> MutableMapping[str, Any]:
            """The WSGI environment of the request."""


__all__ = [
    "HLSessionMiddleware",
    "SignedCookie",
    "baggage",
    "first",
    "header",
    "json_field",
    "path_param",
    "query",
    "session_of",
]

#: The environment's key of Flask's request, while Flask handles it.
REQUEST = "werkzeug.request"
#: Types of bodies that are complete before they are sent. Servers treat some of them specially.
_FINISHED = frozenset({list, tuple, io.BufferedRandom, io.BufferedReader, io.BytesIO, io.FileIO})


def session_of(request: MutableMapping[str, Any] | HasEnvironment) -> Session | None:
    """Return the session of a request, also where the context is lost, such as in a bare thread.

    Args:
        request: its WSGI environment, or an object with the attribute ``environ``.

    Returns:
        The handle, ``None`` if no middleware of ours is around the application.
    """
    environ: Any = getattr(request, "environ", request)
    session: Session | None = environ.get(SESSION)
    return session


def _own_references() -> int:
    environ: dict[str, object] = {}
    session = environ[SESSION] = object()
    try:
        pass
    finally:
        count = references(session)
    return count


# The number of references to a handle in the middleware and the environment, as in the ASGI middleware.
_OWN_REFERENCES = _own_references()


class WSGIRequest(Request):
    SCHEME = "wsgi.url_scheme"

    @staticmethod
    def field(name: str) -> str:
        return "HTTP_" + name.upper().replace("-", "_")

    @staticmethod
    def headers_in(scope: MutableMapping[str, Any], fields: Sequence[str]) -> MutableMapping[str, Any]:
        headers = {}
        for field in fields:
            if field in scope:
                headers[field] = scope[field]
        return headers

    @property
    def content_type(self) -> str:
        content_type: str = self._scope.get("CONTENT_TYPE", "")
        return content_type

    @property
    def peer(self) -> str:
        peer: str = self._scope.get("REMOTE_ADDR", "")
        return peer

    @property
    def query_string(self) -> bytes:
        query_string: str = self._scope.get("QUERY_STRING", "")
        return query_string.encode("latin-1", "replace")

    def header_names(self) -> set[str]:
        fields = (field for field in self._scope if field.startswith("HTTP_"))
        return {field.removeprefix("HTTP_").replace("_", "-").lower() for field in fields}

    def headers(self, name: str) -> list[str]:
        value = self._scope.get(self.field(name))
        return [] if value is None else [value]

    def path_param(self, name: str) -> object:
        if REQUEST in self._scope:
            request = self._scope[REQUEST] or self.native
            return (getattr(request, "view_args", None) or {}).get(name)
        return django_path_param(self._scope.get("PATH_INFO", ""), name)

    def read_body(self, limit: int) -> bytes:
        """Read and return a JSON body, and replace ``wsgi.input`` so that it can be read again.

        The returned body is empty if it is not JSON, or longer than ``limit`` bytes.
        """
        size = self._size_to_read(limit) if self.is_json() else 0
        if size == 0:
            return b""
        body = self._scope["wsgi.input"]
        try:
            start: bytes = body.read(size)
        except Exception:  # noqa: BLE001 - the application gets the error when it reads
            return b""
        if len(start) <= limit:
            self._scope["wsgi.input"] = io.BytesIO(start)
            return start
        self._scope["wsgi.input"] = io.BufferedReader(_Chained(start, body))
        return b""

    def _size_to_read(self, limit: int) -> int:
        """Return how many bytes to read; 0: there are none or too many, or the end is not marked."""
        length = self._scope.get("CONTENT_LENGTH") or None
        if length is None:
            return limit + 1 if self._scope.get("wsgi.input_terminated") else 0
        try:
            size = int(length)
        except ValueError:
            return 0
        return size if 0 <= size <= limit else 0


class HLSessionMiddleware(MiddlewareBase):
    """WSGI middleware that makes each request the scope of a session.

    The scope lasts until the server closes the response. Each step of a streamed body runs in it, so that
    streams interleaved on one thread never see each other's session.

    The arguments are those of :class:`~hl_sessions.integrations.middleware.MiddlewareBase`.
    """

    app: WSGIApplication
    _gateway = "wsgi"
    _request_type = WSGIRequest

    def __call__(  # noqa: C901 - on the path of every request, where a further call takes long
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Run the application in the scope of a session."""
        manager = self._manager or self._find_manager()
        if manager is None:
            return self.app(environ, start_response)
        opened: Session | None = None
        incoming = self._incoming
        around = innermost_session()
        is_inner = around is not None and not (strays and not_left(around) is None)
        if incoming is None:
            session = open_session(manager)[0] if is_inner else manager.new_session()
        elif (shortcut := incoming.shortcut)[0] is manager and not is_inner:
            session = shortcut[1]()
            session._scope = (
                environ if incoming.needs_scope else WSGIRequest.headers_in(environ, incoming.fields)
            )
            session._entered = monotonic()
            if incoming.scheme is not None:
                session._scheme = environ.get(incoming.scheme)
            opened = session if manager.conversations.become_idle else None
        else:
            session, opened = self._open(manager, incoming, environ)
        environ[SESSION] = session
        if self._adds_headers:
            start_response = self._with_headers(start_response, session)
        if request_observers and not is_inner:
            note_request(session)
        token = enter_session(session)
        is_finished = True
        try:
            body = self.app(environ, start_response)
            is_finished = type(body) in _FINISHED or _is_file_wrapper(body, environ)
        finally:
            leave_session(token)
            if is_finished:
                if opened is not None:
                    opened._leave()
                if (
                    references(session) > _OWN_REFERENCES
                    and not is_inner
                    # The function that adds headers holds one more.
                    and (not self._adds_headers or references(session) > _OWN_REFERENCES + 1)
                ):
                    note_end(session, *_method_and_path(environ))
        if is_finished:
            return body
        request = None if is_inner else environ
        return (_SizedBody if hasattr(body, "__len__") else _Body)(body, session, opened, request)

    def _open(
        self, manager: SessionManager, incoming: Incoming, environ: WSGIEnvironment
    ) -> tuple[Session, Session | None]:
        """Return the session, and the same again if it was opened here, else ``None``."""
        body = b""
        if incoming.max_body:
            body = WSGIRequest(environ, self._native_request).read_body(incoming.max_body)
        session, is_joined = open_session(manager, make=lambda: incoming.session(manager, environ, body))
        return session, None if is_joined else session

    def _with_headers(self, start_response: StartResponse, session: Session) -> StartResponse:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any, **options: Any) -> Any:
            wanted = self._headers_of(session)
            missing = wanted and missing_headers(wanted, headers)
            if missing:
                headers = [*headers, *missing]
            return start_response(status, headers, *exc_info, **options)

        return start


class _Chained(io.RawIOBase):
    """A body whose start was read already: the start, then the rest."""

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


def _method_and_path(environ: WSGIEnvironment) -> tuple[str, str]:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return environ.get("REQUEST_METHOD", ""), path.encode("latin-1", "replace").decode("utf-8", "replace")


def _is_file_wrapper(body: object, environ: WSGIEnvironment) -> bool:
    file_wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(file_wrapper, type) and isinstance(body, file_wrapper)


class _Body:
    """A response body, each step of which runs in the scope of its session.

    Args:
        body: the body of the application.
        session: the session.
        opened: the same session, if the body has to note its end; else ``None``.
        environ: the request, ``None`` inside an outer middleware.
    """

    def __init__(
        self,
        body: Iterable[bytes],
        session: Session,
        opened: Session | None,
        environ: WSGIEnvironment | None,
    ) -> None:
        self._body = body
        self._opened = opened
        self._environ = environ
        self._session = session
        self._current: Session | None = session  # or that of a scope which the body has entered itself
        self._iterator: Iterator[bytes] | None = None
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = enter_session(self._current)
        try:
            if self._iterator is None:
                self._iterator = _iterator(self._body, sys._getframe().f_back)
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
            session, environ, self._environ = self._session, self._environ, None
            # Plus the references that this body holds.
            own = _OWN_REFERENCES + 1 + (self._current is session) + (self._opened is session)
            if references(session) > own and environ is not None:
                note_end(session, *_method_and_path(environ))


def _iterator(body: Iterable[bytes], caller: FrameType | None) -> Iterator[bytes]:
    """Return ``iter(body)`` as if the caller had called it.

    A warning that ``iter`` causes, such as Django's about asynchronous iterators, then names the line of the
    server, as it would without the middleware.
    """
    if caller is None:
        return iter(body)
    ask: Any = lambda body: iter(body)  # noqa: E731, PLW0108 - a function of one line, the caller's
    code = ask.__code__.replace(co_filename=caller.f_code.co_filename, co_firstlineno=caller.f_lineno)
    ask = FunctionType(code, caller.f_globals)
    iterator: Iterator[bytes] = ask(body)
    return iterator


class _SizedBody(_Body):
    """A body with a length, by which servers set ``Content-Length``."""

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]
