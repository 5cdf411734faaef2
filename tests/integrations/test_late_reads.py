"""Code that is started in a request and serves others is reported, in every framework."""

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from random import Random
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hl_sessions import SessionManager, acurrent_session_id
from hl_sessions.integrations.asgi import HLSessionMiddleware
from hl_sessions.process.once import Once
from hl_sessions.sessions import late_reads
from hl_sessions.sessions.opened import unobserve
from tests.integrations.conftest import ServeASGI
from tests.waiting import PATIENCE, StillClock

CALLS = 60
Handler = Callable[[], Awaitable[None]]
Ask = Callable[[str], Awaitable[object]]
Serve = Callable[[SessionManager, dict[str, Handler]], AbstractAsyncContextManager[Ask]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[StillClock]:
    clock = StillClock()
    monkeypatch.setattr(late_reads, "monotonic", clock.monotonic)
    monkeypatch.setattr(late_reads, "_traffic", late_reads._Traffic())
    monkeypatch.setattr(late_reads, "_once", Once())
    late_reads._watched.clear()
    unobserve(late_reads._note_start)
    yield clock
    late_reads._watched.clear()
    unobserve(late_reads._note_start)


@asynccontextmanager
async def with_aiohttp(manager: SessionManager, handlers: dict[str, Handler]) -> AsyncIterator[Ask]:
    pytest.importorskip("aiohttp")
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    from hl_sessions.integrations.aiohttp import HLSessionMiddleware

    async def answer(request: web.Request) -> web.Response:
        await handlers[request.path]()
        return web.Response()

    app = web.Application(middlewares=[HLSessionMiddleware(manager)])
    app.add_routes([web.post(path, answer) for path in handlers])
    async with TestClient(TestServer(app)) as client:
        yield client.post


@asynccontextmanager
async def with_sanic(manager: SessionManager, handlers: dict[str, Handler]) -> AsyncIterator[Ask]:
    pytest.importorskip("sanic")
    import sanic

    from hl_sessions.integrations.sanic import SessionSanic

    async def answer(request: sanic.Request) -> sanic.HTTPResponse:
        await handlers[request.path]()
        return sanic.response.empty()

    # Else the first application of a process takes what it does not need from the code of Sanic.
    sanic.Sanic.test_mode = True
    app: Any = SessionSanic(f"app-{uuid4().hex}", manager=manager, configure_logging=False)
    for number, path in enumerate(handlers):
        app.add_route(answer, path, methods=["POST"], name=f"answer-{number}")
    events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    answers: asyncio.Queue[Any] = asyncio.Queue()
    lifespan = asyncio.create_task(app({"type": "lifespan"}, events.get, answers.put))
    events.put_nowait({"type": "lifespan.startup"})
    assert await answers.get() == {"type": "lifespan.startup.complete"}
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client.post
    events.put_nowait({"type": "lifespan.shutdown"})
    await lifespan
    sanic.Sanic.unregister_app(app)
    sanic.Sanic.test_mode = False


@asynccontextmanager
async def with_django(manager: SessionManager, handlers: dict[str, Handler]) -> AsyncIterator[Ask]:
    pytest.importorskip("django")
    from django.http import HttpResponse  # type: ignore[import-untyped]
    from django.test import AsyncRequestFactory, override_settings  # type: ignore[import-untyped]

    from hl_sessions.integrations.django import HLSessionMiddleware

    async def get_response(request: Any) -> Any:
        await handlers[request.path]()
        return HttpResponse()

    with override_settings(HL_SESSIONS={"manager": manager}):
        middleware = HLSessionMiddleware(get_response)

    async def ask(path: str) -> None:
        response = await asyncio.create_task(middleware(AsyncRequestFactory().post(path)))
        response.close()

    yield ask


@asynccontextmanager
async def with_grpc(
    manager: SessionManager, handlers: dict[str, Handler], **options: Any
) -> AsyncIterator[Ask]:
    pytest.importorskip("grpc")
    import grpc
    import grpc.aio

    from hl_sessions.integrations.grpc import AioServerInterceptor

    ended: asyncio.Queue[object] = asyncio.Queue()

    def method(handler: Handler) -> grpc.RpcMethodHandler:
        async def answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            context.add_done_callback(ended.put_nowait)
            await handler()
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server(interceptors=[AioServerInterceptor(manager, **options)])
    methods = {path.strip("/"): method(handler) for path, handler in handlers.items()}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("service", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

        async def ask(path: str) -> None:
            await channel.unary_unary(f"/service{path}")(b"")
            await ended.get()  # the call ends after its answer is there

        yield ask
    await server.stop(None)


@pytest.mark.usefixtures("django_project")
@pytest.mark.parametrize(
    "serve",
    [
        with_aiohttp,
        with_sanic,
        with_django,
        with_grpc,
        pytest.param(partial(with_grpc, trust=["127.0.0.1"]), id="with_grpc_that_trusts"),
    ],
)
def test_a_consumer_that_a_request_has_started_is_told_of(
    serve: Serve, manager: SessionManager, clock: StillClock, records: list[logging.LogRecord]
) -> None:
    """With the request that started it."""
    random = Random(1)
    seen: list[str | None] = []
    kept: list[asyncio.Task[None]] = []
    messages: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    async def consume() -> None:
        while True:
            message = await messages.get()
            clock.offset += 0.01
            seen.append(await acurrent_session_id())
            message.set_result(None)

    async def initialize() -> None:
        kept.append(asyncio.create_task(consume()))

    async def call() -> None:
        message: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        messages.put_nowait(message)
        await message

    async def main() -> None:
        async with serve(manager, {"/initialize": initialize, "/call": call}) as ask:
            await ask("/initialize")
            for _ in range(CALLS):
                clock.offset += 0.5 + random.random()
                await ask("/call")
            for task in kept:
                task.cancel()

    asyncio.run(main())
    assert len(set(seen)) == 1
    assert None not in seen
    (line,) = [record.getMessage() for record in records if "code that was started" in record.getMessage()]
    assert re.search(r"'(POST |gRPC /service)/initialize'", line)


def test_a_loop_is_told_of_on_a_server_that_is_always_busy(
    serve_asgi: ServeASGI, manager: SessionManager, clock: StillClock, records: list[logging.LogRecord]
) -> None:
    """Like a server of MCP 1.x, it sets a context variable to the request that it works for."""
    at_hand: ContextVar[Request] = ContextVar("at_hand")
    messages: asyncio.Queue[tuple[Request, asyncio.Future[None]]] = asyncio.Queue()
    is_waiting, is_over = threading.Event(), asyncio.Event()
    seen: list[str | None] = []
    kept: list[asyncio.Task[None]] = []

    async def consume() -> None:
        while True:
            request, is_answered = await messages.get()
            at_hand.set(request)
            clock.offset += 0.1
            seen.append(await acurrent_session_id())
            is_answered.set_result(None)

    async def call(request: Request) -> Response:
        if not kept:
            kept.append(asyncio.create_task(consume()))
        is_answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        messages.put_nowait((request, is_answered))
        await is_answered
        return Response()

    async def wait(request: Request) -> Response:
        is_waiting.set()
        await is_over.wait()
        return Response()

    async def end(request: Request) -> Response:
        is_over.set()
        kept[0].cancel()
        return Response()

    app = Starlette(routes=[Route(f"/{each.__name__}", each) for each in (call, wait, end)])
    host, port = serve_asgi(HLSessionMiddleware(app, manager))

    async def main() -> None:
        async with httpx2.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client:
            for _ in range(2):
                await client.get("/call")
            waiting = asyncio.create_task(client.get("/wait"))
            await asyncio.to_thread(is_waiting.wait, PATIENCE)
            for _ in range(10):
                await client.get("/call")
            await client.get("/end")
            await waiting

    asyncio.run(main())
    assert len(seen) == 12
    assert len(set(seen)) == 1
    (line,) = [record.getMessage() for record in records if "code that was started" in record.getMessage()]
    assert "'GET /call'" in line
