"""Whole requests to a Django project through Django's test handlers, with a line for MIDDLEWARE."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import django  # type: ignore[import-untyped]
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings  # type: ignore[import-untyped]
from django.http import HttpResponse  # type: ignore[import-untyped]
from django.test import (  # type: ignore[import-untyped]
    AsyncRequestFactory,
    RequestFactory,
    override_settings,
)
from django.test.client import AsyncClientHandler, ClientHandler  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]

from benchmarks.measure import Effort, awaits, calls, compare, own, paired_medians
from benchmarks.row import LIMIT, OURS, Row, limited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest

__all__ = ["HandWritten", "django_rows"]

_LINES = {
    LIMIT: "benchmarks.django_requests.HandWritten",
    OURS: "hl_sessions.integrations.django.HLSessionMiddleware",
}
_session_id: ContextVar[str | None] = ContextVar("session_id", default=None)


class HandWritten:
    """The least that a middleware can do, for responses that are no streams."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Answer a request with one context variable set."""
        if self._is_async:
            return self._answer(request)
        token = _session_id.set("sesh_1")
        try:
            return self._get_response(request)
        finally:
            _session_id.reset(token)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        token = _session_id.set("sesh_1")
        try:
            return await self._get_response(request)
        finally:
            _session_id.reset(token)


def django_rows(effort: Effort) -> Iterator[Row]:
    """Measure the line, with a view of either kind."""
    if not settings.configured:
        settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None)
        django.setup()
    runs = {name: calls(own(_request(line))) for name, line in _LINES.items()}
    yield _row("sync", compare(runs, effort))
    runs = {name: awaits(own(_async_request(line))) for name, line in _LINES.items()}
    yield _row("async", compare(runs, effort))


def _row(kind: str, seconds: dict[str, list[float]]) -> Row:
    title = f"Django MIDDLEWARE line, session never read, {kind}"
    return limited(title, paired_medians(seconds, LIMIT), times=1.15)


def _request(line: str) -> Callable[[], Any]:
    handler, environ = ClientHandler(), RequestFactory().get("/sync").environ
    with override_settings(MIDDLEWARE=[line]):
        handler.load_middleware()
    return lambda: handler(dict(environ))


def _async_request(line: str) -> Callable[[], Any]:
    handler, scope = AsyncClientHandler(), AsyncRequestFactory().get("/async").scope
    with override_settings(MIDDLEWARE=[line]):
        handler.load_middleware(is_async=True)
    return lambda: handler(dict(scope))


def _view(_: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


async def _async_view(_: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


urlpatterns = [path("sync", _view), path("async", _async_view)]
