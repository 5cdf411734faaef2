"""What is started in a request and serves others is told of, whichever framework made the session."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from hl_sessions import SessionManager, acurrent_session_id
from hl_sessions.process.once import Once
from hl_sessions.sessions import late_reads
from tests.waiting import StillClock

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
    yield clock
    late_reads._watched.clear()


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


@pytest.mark.usefixtures("django_project")
@pytest.mark.parametrize("serve", [with_aiohttp, with_sanic, with_django])
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
    (line,) = [record.getMessage() for record in records if "what was started in it" in record.getMessage()]
    assert "'POST /initialize'" in line
