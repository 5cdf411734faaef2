"""The first read in a scope, which creates the session, with an API that answers at once."""

from __future__ import annotations

import asyncio
import json
from http.client import HTTPConnection
from time import perf_counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
import urllib3

from benchmarks.api import sessions_api
from benchmarks.measure import Effort, calls, compare, paired_medians
from benchmarks.row import LIMIT, OURS, Row, limited
from hl_sessions import SessionManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Run

__all__ = ["first_read_rows"]

HTTP_CLIENT = "http.client"
REQUESTS = "requests.Session.post"


def first_read_rows(effort: Effort) -> Iterator[Row]:
    """Measure the first read; connections are kept open by all."""
    with (
        sessions_api() as api,
        SessionManager(api.base_url) as manager,
        requests.Session() as http,
        urllib3.PoolManager() as pool,
    ):
        address = urlsplit(api.url)
        connection = HTTPConnection(address.hostname or "", address.port)

        def first_read() -> object:
            with manager.session() as session:
                return session.id

        def post_with_http_client() -> object:
            connection.request("POST", address.path)
            return json.loads(connection.getresponse().read())["id"]

        def post_with_requests() -> object:
            return http.post(api.url).json()["id"]

        def post_with_urllib3() -> object:
            return json.loads(pool.request("POST", api.url).data)["id"]

        runs = {
            REQUESTS: calls(post_with_requests),
            OURS: calls(first_read),
            HTTP_CLIENT: calls(post_with_http_client),
            "urllib3.PoolManager": calls(post_with_urllib3),
        }
        seconds = compare(runs, effort)
        async_figures = paired_medians(compare(_async_runs(api.url, manager), effort), LIMIT)
        connection.close()
    yield limited(
        "first read, API at 0 ms", paired_medians(seconds, HTTP_CLIENT), times=2.2, reference=HTTP_CLIENT
    )
    figures = paired_medians({name: seconds[name] for name in (OURS, REQUESTS)}, REQUESTS)
    yield limited("first read beside requests, API at 0 ms", figures, times=0.35, reference=REQUESTS)
    yield limited("first read by aid(), API at 0 ms", async_figures, times=2.5)


def _async_runs(url: str, manager: SessionManager) -> dict[str, Run]:
    """Return both in turns of one event loop each; the limit is a connection of :mod:`asyncio` streams."""
    address = urlsplit(url)
    request = f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 0\r\n\r\n".encode()

    async def first_reads(number: int) -> float:
        started = perf_counter()
        for _ in range(number):
            async with manager.session() as session:
                await session.aid()
        return perf_counter() - started

    async def posts(number: int) -> float:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        started = perf_counter()
        for _ in range(number):
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            json.loads(await reader.readexactly(length))["id"]
        seconds = perf_counter() - started
        writer.close()
        return seconds

    return {
        LIMIT: lambda number: asyncio.run(posts(number)),
        OURS: lambda number: asyncio.run(first_reads(number)),
    }
