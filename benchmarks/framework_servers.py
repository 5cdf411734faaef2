"""Whole requests of aiohttp's client to its server, and gRPC's to its own, over connections kept open."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import grpc
import grpc.aio
from aiohttp import web

from benchmarks.client_process import client_process
from benchmarks.measure import Effort, calls, compare, own, paired_medians
from benchmarks.row import OURS, Row, limited
from hl_sessions import SessionManager
from hl_sessions.integrations.aiohttp import HLSessionMiddleware
from hl_sessions.integrations.grpc import AioServerInterceptor, ServerInterceptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

__all__ = ["framework_server_rows"]

BARE = "bare server"
EMPTY = "empty middleware"
ADDRESS = "127.0.0.1"
METHOD = "/benchmark/call"


def framework_server_rows(effort: Effort) -> Iterator[Row]:
    """Measure requests: all to one process, as no two processes are equally fast."""
    for title, serve, client in (
        ("aiohttp, whole request", _serve_aiohttp, _aiohttp_client),
        ("gRPC, whole call", _serve_grpc, _grpc_client),
        ("gRPC aio, whole call", _serve_grpc_aio, _grpc_client),
    ):
        with client_process(serve) as pipe, ExitStack() as clients:
            ports: dict[str, int] = pipe.recv()
            runs = {name: calls(clients.enter_context(client(port))) for name, port in ports.items()}
            seconds = compare(runs, replace(effort, rounds=effort.rounds * 10, turn=0))  # a request each
        yield limited(title, paired_medians(seconds, BARE), times=1.03, reference=BARE)


@contextmanager
def _aiohttp_client(port: int) -> Iterator[Callable[[], None]]:
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(_opened_client())

    async def request() -> None:
        async with client.get(f"http://{ADDRESS}:{port}/") as response:
            await response.read()

    yield lambda: loop.run_until_complete(request())
    loop.run_until_complete(client.close())
    loop.close()


async def _opened_client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


@contextmanager
def _grpc_client(port: int) -> Iterator[Callable[[], None]]:
    with grpc.insecure_channel(f"{ADDRESS}:{port}") as channel:
        call = channel.unary_unary(METHOD)
        yield lambda: call(b"", wait_for_ready=True)


def _serve_aiohttp(pipe: Connection) -> None:
    async def ok(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def serve() -> None:
        ports = {}
        ours = HLSessionMiddleware(SessionManager())
        middlewares: dict[str, list[Any]] = {BARE: [], EMPTY: [_empty], OURS: [ours]}
        for name, its_middlewares in middlewares.items():
            app = web.Application(middlewares=its_middlewares)
            app.router.add_get("/", own(ok))
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, ADDRESS, 0).start()
            ports[name] = runner.addresses[0][1]
        pipe.send(ports)
        await asyncio.Event().wait()

    asyncio.run(serve())


@web.middleware
async def _empty(request: web.Request, handler: Any) -> web.StreamResponse:
    response: web.StreamResponse = await handler(request)
    return response


def _serve_grpc(pipe: Connection) -> None:
    def call(request: bytes, _: grpc.ServicerContext) -> bytes:
        return request

    servers = {
        BARE: grpc.server(ThreadPoolExecutor(1)),
        OURS: grpc.server(ThreadPoolExecutor(1), interceptors=[ServerInterceptor(SessionManager())]),
    }
    pipe.send({name: _add_method(server, own(call)) for name, server in servers.items()})
    for server in servers.values():
        server.start()
    servers[BARE].wait_for_termination()


def _serve_grpc_aio(pipe: Connection) -> None:
    async def call(request: bytes, _: grpc.ServicerContext) -> bytes:
        return request

    async def serve() -> None:
        servers = {
            BARE: grpc.aio.server(),
            OURS: grpc.aio.server(interceptors=[AioServerInterceptor(SessionManager())]),
        }
        pipe.send({name: _add_method(server, own(call)) for name, server in servers.items()})
        for server in servers.values():
            await server.start()
        await servers[BARE].wait_for_termination()

    asyncio.run(serve())


def _add_method(server: Any, function: Callable[..., Any]) -> int:
    """Add a method, and return the port that the server will listen on."""
    _, service, method = METHOD.split("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(function)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    port: int = server.add_insecure_port(f"{ADDRESS}:0")
    return port
