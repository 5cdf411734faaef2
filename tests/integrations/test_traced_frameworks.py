"""The session on the spans of OpenTelemetry's published instrumentations."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("celery")
pytest.importorskip("django")
pytest.importorskip("fastapi")
pytest.importorskip("flask")
pytest.importorskip("httpx")
pytest.importorskip("opentelemetry.instrumentation.fastapi")

import httpx
from celery import Celery, _state
from celery.worker import WorkController, state
from django.http import HttpRequest, HttpResponse  # type: ignore[import-untyped]
from django.test import AsyncClient, Client, override_settings  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from fastapi import FastAPI
from flask import Flask
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.trace import SpanKind

from hl_sessions import SessionManager, acurrent_session_id, configure, current_session_id
from hl_sessions.integrations import asgi, celery, wsgi
from hl_sessions.integrations.asgi import path_param
from tests.integrations.conftest import ServeASGI
from tests.integrations.exported_spans import Spans, exporting_spans
from tests.sessions_api import Answer, Request, SessionsAPI, create_sessions
from tests.waiting import PATIENCE, wait_until

LINE = "hl_sessions.integrations.django.HLSessionMiddleware"
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "because"}}
    ],
}


@pytest.fixture
def spans() -> Iterator[Spans]:
    with exporting_spans() as spans:
        yield spans


@contextmanager
def instrumented(instrumentor: Any, spans: Spans) -> Iterator[None]:
    instrumentor.instrument(tracer_provider=spans.provider)
    try:
        yield
    finally:
        instrumentor.uninstrument()


def ids_by_trace(spans: Spans, kind: SpanKind | None = None) -> list[set[Any]]:
    """What the spans of each trace have, or those of one kind, in the order of their ends."""
    found: dict[int, set[Any]] = {}
    for span in spans.ended():
        if kind is None or span.kind is kind:
            found.setdefault(span.context.trace_id, set()).add((span.attributes or {}).get("session.id"))
    return list(found.values())


@pytest.mark.parametrize("is_outside", [True, False], ids=["outside", "inside"])
def test_every_span_of_a_request_to_fastapi(
    manager: SessionManager, spans: Spans, serve_asgi: ServeASGI, *, is_outside: bool
) -> None:
    """Wherever the middleware is; spans that ended before the read have nothing."""
    app = FastAPI()

    @app.get("/read")
    async def read() -> str | None:
        session_id = await acurrent_session_id()
        with spans.tracer.start_as_current_span("thinking"):
            return session_id

    @app.get("/unread")
    async def unread() -> None:
        pass

    if not is_outside:
        app.add_middleware(asgi.HLSessionMiddleware, manager)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=spans.provider)
    served: Any = asgi.HLSessionMiddleware(app, manager) if is_outside else app
    address, port = serve_asgi(served)
    with httpx.Client(base_url=f"http://{address}:{port}", timeout=PATIENCE) as client:
        session_ids = [client.get("/read").json() for _ in range(2)]
        client.get("/unread")
    wait_until(lambda: len(ids_by_trace(spans, SpanKind.SERVER)) == 3)
    FastAPIInstrumentor.uninstrument_app(app)
    assert ids_by_trace(spans) == [{session_ids[0]}, {session_ids[1]}, {None}]
    assert len({*session_ids}) == 2


def test_create_does_not_decide_before_the_route_is_known(
    manager: SessionManager, serve_asgi: ServeASGI
) -> None:
    """A conversation stays one, though a span begins before its key is known."""
    app = FastAPI()
    app.add_middleware(asgi.HLSessionMiddleware, manager, key=path_param("chat"))
    with exporting_spans(create=True) as spans:

        @app.get("/{chat}")
        async def read(chat: str) -> str | None:
            with spans.tracer.start_as_current_span("thinking"):
                return await acurrent_session_id()

        FastAPIInstrumentor.instrument_app(app, tracer_provider=spans.provider)
        address, port = serve_asgi(app)
        with httpx.Client(base_url=f"http://{address}:{port}", timeout=PATIENCE) as client:
            session_ids = {client.get("/chat-1").json() for _ in range(2)}
        wait_until(lambda: len(ids_by_trace(spans, SpanKind.SERVER)) == 2)
        FastAPIInstrumentor.uninstrument_app(app)
        assert ids_by_trace(spans, SpanKind.SERVER) == [session_ids, session_ids]
    assert len(session_ids) == 1


@pytest.mark.parametrize("is_outside", [True, False], ids=["outside", "inside"])
def test_every_span_of_a_request_to_flask(manager: SessionManager, spans: Spans, *, is_outside: bool) -> None:
    app = Flask("bot")

    @app.get("/")
    def read() -> str:
        with spans.tracer.start_as_current_span("thinking"):
            return str(current_session_id())

    def wrap(middleware: Callable[[Any], Any]) -> None:
        app.wsgi_app = middleware(app.wsgi_app)  # type: ignore[method-assign]

    def add_ours() -> None:
        wrap(lambda application: wsgi.HLSessionMiddleware(application, manager))

    if not is_outside:
        add_ours()
    instrumentor: Any = FlaskInstrumentor()
    instrumentor.instrument_app(app, tracer_provider=spans.provider)
    if is_outside:
        add_ours()
    session_ids = [app.test_client().get("/").text for _ in range(2)]
    instrumentor.uninstrument_app(app)
    assert ids_by_trace(spans) == [{session_id} for session_id in session_ids]
    assert ids_by_trace(spans, SpanKind.SERVER) == [{session_id} for session_id in session_ids]


@pytest.mark.parametrize("is_async", [False, True], ids=["wsgi", "asgi"])
@pytest.mark.usefixtures("django_project")
def test_every_span_of_a_request_to_django(
    sessions_api: SessionsAPI, spans: Spans, *, is_async: bool
) -> None:
    def read(request: HttpRequest) -> HttpResponse:
        with spans.tracer.start_as_current_span("thinking"):
            return HttpResponse(current_session_id())

    class Urls:
        urlpatterns = (path("", read),)

    configure(sessions_api.base_url)
    with override_settings(MIDDLEWARE=[LINE], ROOT_URLCONF=Urls), instrumented(DjangoInstrumentor(), spans):
        answer = asyncio.run(AsyncClient().get("/")) if is_async else Client().get("/")
    session_id = answer.content.decode()
    assert ids_by_trace(spans) == ids_by_trace(spans, SpanKind.SERVER) == [{session_id}]


@contextmanager
def celery_worker(app: Celery) -> Iterator[None]:
    """A worker in a thread, which leaves the logging of this process alone."""
    is_ready = threading.Event()
    options = {"without_heartbeat": True, "without_mingle": True, "without_gossip": True}
    worker = WorkController(app, pool="solo", ready_callback=lambda _: is_ready.set(), **options)

    def work() -> None:
        app.set_current()  # for this thread
        worker.start()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert is_ready.wait(PATIENCE)
    try:
        yield
    finally:
        state.should_terminate = 0
        thread.join(PATIENCE)
        state.should_terminate = None


@pytest.mark.slow
def test_every_span_of_a_task_of_celery(
    manager: SessionManager, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the sender, that of the worker and what is in it, in either order of connecting."""
    seen: list[str | None] = []

    def read() -> None:
        with spans.tracer.start_as_current_span("thinking"):
            seen.append(current_session_id())

    def ask() -> None:
        tasks = len(seen)
        with spans.tracer.start_as_current_span("asking"):
            task.delay()
        wait_until(lambda: len(ids_by_trace(spans, SpanKind.CONSUMER)) > tasks)

    monkeypatch.setattr(_state, "_task_join_will_block", False)  # a worker sets it, for good
    app = Celery("bot", broker="memory://", set_as_current=False)
    app.conf.broker_transport_options = {"polling_interval": 0.01}
    monkeypatch.setattr(_state._tls, "current_app", app)  # the instrumentation knows no others
    task = app.task(read, name="read", shared=False)
    instrumentor: Any = CeleryInstrumentor
    celery.connect(manager)
    try:
        with instrumented(instrumentor(), spans), celery_worker(app):
            for _ in ("ours first", "theirs first"):
                with manager.session():
                    ask()
                celery.disconnect()
                celery.connect(manager)
            ask()  # outside every scope
    finally:
        celery.disconnect()
        app.close()
    assert ids_by_trace(spans) == [{seen[0]}, {seen[1]}, {None}]
    assert len({*seen}) == 3
    kinds = {span.kind for span in spans.ended()}
    assert kinds == {SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.INTERNAL}


def test_a_call_of_httpx(manager: SessionManager, spans: Spans, sessions_api: SessionsAPI) -> None:
    async def call() -> None:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            await client.get(sessions_api.base_url)

    with instrumented(HTTPXClientInstrumentor(), spans):
        with manager.session() as session:
            assert session.id
            httpx.get(sessions_api.base_url, timeout=PATIENCE)
            asyncio.run(call())
        httpx.get(sessions_api.base_url, timeout=PATIENCE)
    assert ids_by_trace(spans, SpanKind.CLIENT) == [{session.id}, {session.id}, {None}]


def test_a_call_of_openai(manager: SessionManager, spans: Spans, sessions_api: SessionsAPI) -> None:
    openai = pytest.importorskip("openai")
    instrumentor = pytest.importorskip("opentelemetry.instrumentation.openai_v2").OpenAIInstrumentor()
    settings = {"base_url": sessions_api.base_url, "api_key": "of tests", "timeout": PATIENCE}
    question = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Why?"}]}

    def answer(request: Request) -> Answer:
        return Answer(200, COMPLETION) if "/chat" in request.target else create_sessions(request)

    async def ask() -> None:
        async with openai.AsyncOpenAI(**settings) as client:
            await client.chat.completions.create(**question)

    sessions_api.answer = answer
    with instrumented(instrumentor, spans), manager.session(key="a chat") as session:
        assert session.id
        with openai.OpenAI(**settings) as client:
            client.chat.completions.create(**question)
        asyncio.run(ask())
    calls = [dict(span.attributes or {}) for span in spans.ended()]
    names = ("gen_ai.request.model", "session.id", "gen_ai.conversation.id")
    assert [[call[name] for name in names] for call in calls] == [["gpt-4o", session.id, session.id]] * 2
