"""A session for each request of a Django project, under WSGI and ASGI.

.. code-block:: python

    MIDDLEWARE = ["hl_sessions.integrations.django.HLSessionMiddleware", ...]  # the first

    HL_SESSIONS = {"key": path_param("chat")}  # the options, if any

The argument of functions for ``key`` and ``trust`` is the ``HttpRequest``.
"""

from __future__ import annotations

import re
from http.cookies import SimpleCookie
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations import asgi, wsgi
from hl_sessions.integrations.cookies import SignedCookie
from hl_sessions.integrations.gateway import SESSION
from hl_sessions.integrations.keys import (
    baggage,
    django_path_param,
    first,
    header,
    json_field,
    path_param,
    query,
)
from hl_sessions.integrations.middleware import MiddlewareBase
from hl_sessions.scopes.scope import open_session
from hl_sessions.sessions import context
from hl_sessions.sessions.calls import Stay
from hl_sessions.sessions.current import enter_session, innermost_session, leave_session
from hl_sessions.sessions.late_reads import note_end, references
from hl_sessions.sessions.opened import note_request, request_observers

try:
    from asgiref.sync import iscoroutinefunction, markcoroutinefunction
    from django.conf import settings  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.django needs Django: pip install 'hl-sessions[django]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping, Sequence

    from django.http import HttpRequest  # type: ignore[import-untyped]
    from django.http.response import HttpResponseBase  # type: ignore[import-untyped]

    from hl_sessions.integrations.incoming import Incoming
    from hl_sessions.manager import SessionManager
    from hl_sessions.sessions.session import Session

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

_SETTING = "HL_SESSIONS"
_OPTIONS = frozenset({"manager", "key", "cookie", "response_header", "trust", "via_proxies"})


def session_of(request: HttpRequest) -> Session | None:
    """Return the session of a request, also where the context is lost, such as in a bare thread.

    Args:
        request: the request of a view.

    Returns:
        The handle, ``None`` if no middleware of ours is in the settings or around the application.
    """
    session: Session | None = getattr(request, "hl_session", None)
    if session is not None:
        return session
    return asgi.session_of(request) if hasattr(request, "scope") else wsgi.session_of(request.META)


class _Request(wsgi.WSGIRequest):
    """A request of either gateway: the ``META`` of Django is like a WSGI environment."""

    SCHEME = "scheme"

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        make_native: Callable[[MutableMapping[str, Any]], Any],
        body: bytes = b"",
    ) -> None:
        super().__init__(scope["META"], make_native, body)
        self._request: Any = scope.get("request")

    @staticmethod
    def headers_in(
        scope: MutableMapping[str, Any],
        fields: Sequence[str],  # noqa: ARG004 - see the base
    ) -> MutableMapping[str, Any]:
        return {"META": scope["META"]}

    @property
    def native(self) -> Any:
        return self._request

    def path_param(self, name: str) -> object:
        match = self._request.resolver_match
        if match is None:  # a middleware reads before Django has found the route
            return django_path_param(self._request.path_info, name)
        return match.kwargs.get(name)


class HLSessionMiddleware(MiddlewareBase):
    """The entry for ``MIDDLEWARE``: each request is the scope of a session, which is ``request.hl_session``.

    The scope lasts until the response is closed, streams included. Put it first: earlier middlewares run
    outside of the scope. The session of a middleware of ours around the application is joined.

    The setting ``HL_SESSIONS`` is a dictionary with the arguments of
    :class:`~hl_sessions.integrations.middleware.MiddlewareBase`: ``manager``, ``key``, ``cookie``,
    ``response_header``, ``trust`` and ``via_proxies``.

    Args:
        get_response: the rest of the project, which Django passes.

    Raises:
        ConfigurationError: the setting is wrong; raised when the server starts.
    """

    sync_capable = True
    async_capable = True
    _request_type = _Request

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        options = _options()
        try:
            super().__init__(get_response, **options)
        except ConfigurationError as error:
            # The message begins with the name of an argument, if it is about one.
            name = next((name for name in options if re.match(rf"{name}\b", str(error))), None)
            if name is None:
                raise
            raise ConfigurationError(f"{_SETTING}[{name!r}]{str(error)[len(name) :]}") from None
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Answer a request in the scope of a session."""
        manager = self._manager or self._find_manager()
        if manager is None:
            request.hl_session = None
            return self.app(request)
        session, is_joined = self._open(manager, request)
        request.hl_session = session
        opened = None if is_joined else session
        if request_observers and opened is not None:
            note_request(opened)
        return (self._aanswer if self._is_async else self._answer)(request, session, opened)

    def _answer(self, request: HttpRequest, session: Session, opened: Session | None) -> HttpResponseBase:
        token = enter_session(session)
        response = None
        try:
            response = self.app(request)
        finally:
            leave_session(token)
            if response is None and opened is not None:
                opened._leave()
                _note_end(opened, request)
        return self._continued(request, response, session, opened)

    async def _aanswer(
        self, request: HttpRequest, session: Session, opened: Session | None
    ) -> HttpResponseBase:
        token = enter_session(session)
        response = None
        try:
            response = await self.app(request)
        finally:
            try:
                leave_session(token)
            except ValueError:
                pass  # an unfinished request may be closed in another context
            if response is None and opened is not None:
                opened._leave()
                _note_end(opened, request)
        return self._continued(request, response, session, opened)

    def _open(self, manager: SessionManager, request: HttpRequest) -> tuple[Session, bool]:
        """Return the session of a request, and whether it is that of an outer middleware."""
        scope = getattr(request, "scope", None)
        # Under ASGI the current session may be that of another request, see the ASGI middleware.
        is_inside = innermost_session() is not None if scope is None else SESSION in scope
        incoming = self._incoming
        if incoming is None:
            return open_session(manager) if is_inside else (manager.new_session(), False)

        def make() -> Session:
            return _session(incoming, manager, request)

        return open_session(manager, make=make) if is_inside else (make(), False)

    def _continued(
        self, request: HttpRequest, response: HttpResponseBase, session: Session, opened: Session | None
    ) -> HttpResponseBase:
        """Tell the client of the session, and run the stream and the close of the response in it."""
        headers = self._headers_of(session)
        if headers and not response.streaming:
            response = _copy(response)
        for name, value in headers:
            if name != "Set-Cookie":
                response.headers.setdefault(name, value)
            elif opened is not None:  # else the outer middleware sets the cookie
                response.cookies.load(value)
        stay = Stay(context.current, session)
        if response.streaming:
            _continue_stream(response, stay)
        elif opened is not None:
            # The content is complete. Outer code may send another response instead, and never close this one.
            opened._leave()
        response.close = _Close(request, response, stay, opened)
        return response


def _options() -> dict[str, Any]:
    options = getattr(settings, _SETTING, {})
    if not isinstance(options, dict):
        raise ConfigurationError(f"{_SETTING} must be a dict, not {type(options).__name__}")
    unknown = options.keys() - _OPTIONS
    if unknown:
        names = ", ".join(f"{_SETTING}[{name!r}]" for name in sorted(unknown, key=str))
        raise ConfigurationError(f"unknown setting {names}; there are {', '.join(sorted(_OPTIONS))}")
    return options


def _session(incoming: Incoming, manager: SessionManager, request: HttpRequest) -> Session:
    scope = {"META": request.META, "request": request}
    if incoming.scheme is not None:
        scope[incoming.scheme] = request.scheme
    body = _json_body(request, scope, incoming.max_body) if incoming.max_body else b""
    return incoming.session(manager, scope, body)


def _json_body(request: HttpRequest, scope: dict[str, Any], limit: int) -> bytes:
    """Return a JSON body, which views can still read; empty if it is longer than ``limit`` bytes."""
    if not _Request(scope, dict).is_json():
        return b""
    try:
        is_too_long = int(request.META.get("CONTENT_LENGTH") or 0) > limit
        body: bytes = b"" if is_too_long else request.body
    except Exception:  # noqa: BLE001 - the view gets the error when it reads
        return b""
    return body if len(body) <= limit else b""


def _copy(response: HttpResponseBase) -> HttpResponseBase:
    """Return a copy with its own headers: the project may use a response for several requests."""
    copied = response.__class__.__new__(response.__class__)
    vars(copied).update(vars(response))
    copied.headers = response.headers.__class__(response.headers)
    copied.cookies = SimpleCookie(response.cookies)
    return copied


def _continue_stream(response: HttpResponseBase, stay: Stay) -> None:
    file = getattr(response, "file_to_stream", None)
    steps = _AsyncSteps if response.is_async else _Steps
    response.streaming_content = steps(response.streaming_content, stay)
    if file is not None:  # setting the content has removed it, and servers send files faster
        response.file_to_stream = file


def _note_end(session: Session, request: HttpRequest) -> None:
    note_end(session, request.method or "", request.path)


class _Steps:
    """A stream whose steps run in the session. Django closes the streamed content itself."""

    def __init__(self, content: Iterator[bytes], stay: Stay) -> None:
        self._content = content
        self._stay = stay

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._stay.enter()
        try:
            return next(self._content)
        finally:
            self._stay.leave()


class _AsyncSteps:
    """An asynchronous stream whose steps run in the session."""

    def __init__(self, content: AsyncIterator[bytes], stay: Stay) -> None:
        self._content = content
        self._stay = stay

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self._stay.enter()
        try:
            return await anext(self._content)
        finally:
            self._stay.leave()


class _Close:
    """Closes a response in its session, and leaves the scope if it was opened for the request."""

    def __init__(
        self, request: HttpRequest, response: HttpResponseBase, stay: Stay, opened: Session | None
    ) -> None:
        self._request = request
        self._response = response
        self._close = response.close
        self._stay: Stay | None = stay
        self._opened = opened

    def __call__(self) -> None:
        if self._response.close is self:
            del self._response.close  # the two objects hold each other
        stay, self._stay = self._stay, None
        if stay is None:  # closed before: a stream, such as that of Django's test client, closes the response
            self._close()
            return
        stay.enter()
        try:
            self._close()
        finally:
            stay.leave()
            if self._opened is not None:
                if self._response.streaming:
                    self._opened._leave()
                if self._references() > _OWN_REFERENCES:
                    _note_end(self._opened, self._request)

    def _references(self) -> int:
        return references(self._opened)

    def __reduce__(self) -> tuple[Any, ...]:
        # A response that a cache has pickled gets Django's own close.
        return getattr, (self._response, "close")


def _own_references() -> int:
    request: Any = SimpleNamespace(hl_session=object())
    stay = Stay(context.current, request.hl_session)
    return _Close(request, SimpleNamespace(close=None), stay, request.hl_session)._references()


# The number of references to a handle in the request and here. If there are no others, no code that was
# started in the request can read its session any more.
_OWN_REFERENCES = _own_references()
