"""Connections that are kept for the next call, and what becomes of them meanwhile."""

import asyncio
import gc
import os
import resource
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from hl_sessions import APIConnectionError, APITimeoutError, SessionManager, SessionsClient
from hl_sessions.client import connections
from tests.client.conftest import Call
from tests.faults import FaultServer, Play, Wire
from tests.sessions_api import Answer, Gate, Request, SessionsAPI, create_sessions
from tests.waiting import PATIENCE, StillClock, ends_within, in_threads, wait_until

ID = "sesh_AAAAAAAAAAAAAAAAAAAA"
CREATED = b'HTTP/1.1 201 Created\r\nContent-Length: 35\r\n\r\n{"id": "%s"}' % ID.encode()


def answering_once(wire: Wire) -> None:
    """Answer the first request on each connection, and swallow all others: a middlebox has forgotten it."""
    wire.read_request()
    wire.send(CREATED)


def test_silence_on_a_kept_connection_is_tried_on_a_fresh_one(
    serve: Callable[[Play], FaultServer], call: Call
) -> None:
    """Within the same time limit, and without a retry being allowed."""
    server = serve(answering_once)
    with SessionsClient(server.base_url, timeout=3, retries=0) as client:
        assert call(client, "create").body == {"id": ID}
        assert call(client, "create").body == {"id": ID}
        assert server.opened == 2
    server.wait_until_all_closed()


@pytest.mark.slow
def test_silence_on_kept_connections_is_no_outage(serve: Callable[[Play], FaultServer]) -> None:
    """Many at once, more than failures open the circuit breaker: each read has its ID."""
    server = serve(answering_once)
    barrier = threading.Barrier(5)

    def read(manager: SessionManager) -> str | None:
        barrier.wait(PATIENCE)
        with manager.session() as session:
            return session.id

    with SessionManager(server.base_url, timeout=6, retries=0) as manager:
        for _ in range(2):
            assert [reader.result(PATIENCE) for reader in in_threads(lambda: read(manager), 5)] == [ID] * 5


@pytest.mark.slow
def test_an_answer_that_is_late_on_a_kept_connection_counts(serve: Callable[[Play], FaultServer]) -> None:
    """An API that is slower than before is not worse off than without a second attempt."""
    tried_again = threading.Event()

    def play(wire: Wire) -> None:
        wire.read_request()
        if wire.server.opened > 1:
            tried_again.set()  # and never answered
            return
        wire.send(CREATED)
        wire.read_request()
        assert tried_again.wait(PATIENCE)
        wire.send(CREATED.replace(b"AAAA", b"BBBB"))

    server = serve(play)
    with SessionsClient(server.base_url, timeout=6, retries=0) as client:
        client.create()
        assert client.create().body == {"id": ID.replace("AAAA", "BBBB")}
        server.play = answering_once
        assert client.create().body == {"id": ID}  # on a third: none is used again that was given up
    server.wait_until_all_closed()


def test_all_silent_is_a_timeout(serve: Callable[[Play], FaultServer], call: Call) -> None:
    """Where the fresh connection is silent, too, that is a failure like any other."""

    def play(wire: Wire) -> None:
        wire.read_request()
        if wire.server.opened == 1:
            wire.send(CREATED)

    server = serve(play)
    with SessionsClient(server.base_url, timeout=0.4, retries=0) as client:
        call(client, "create", timeout=PATIENCE)
        with ends_within(0.4), pytest.raises(APITimeoutError):
            call(client, "create")
    server.wait_until_all_closed()


def test_a_connection_that_idled_for_long_is_not_used_again(
    sessions_api: SessionsAPI, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router between may have forgotten it without a word; it is closed."""
    clock = StillClock()
    monkeypatch.setattr(connections, "time", clock)
    with SessionsClient(sessions_api.base_url, retries=0) as client:
        call(client, "create")
        clock.offset += connections.LONGEST_IDLE_TIME / 2
        call(client, "create")
        assert sessions_api.connections == 1
        clock.offset += connections.LONGEST_IDLE_TIME
        call(client, "create")
        assert sessions_api.connections == 2


def test_the_system_watches_connections(sessions_api: SessionsAPI) -> None:
    """TCP keep-alive is on, so that a wait on a dead connection ends."""
    with SessionsClient(sessions_api.base_url, retries=0) as client:
        client.create()
        [kept] = client._transport._connections._kept
        assert kept.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert kept.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < 60


def test_connections_are_shared_by_threads_and_event_loops(sessions_api: SessionsAPI) -> None:
    """They belong to no loop: what one has opened the next goes on with."""
    with SessionsClient(sessions_api.base_url, retries=0) as client:
        for _ in range(3):
            client.create()
            asyncio.run(client.acreate())
            in_threads(client.create)[0].result(PATIENCE)
    assert sessions_api.connections == 1


def test_a_cancelled_call_closes_its_connection(serve: Callable[[Play], FaultServer]) -> None:
    """Its answer would be taken for that of the next call."""
    asked = threading.Event()

    def play(wire: Wire) -> None:
        wire.read_request()
        asked.set()

    async def cancel(client: SessionsClient) -> None:
        task = asyncio.create_task(client.acreate())
        await asyncio.to_thread(asked.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    server = serve(play)
    with SessionsClient(server.base_url, retries=0) as client:
        asyncio.run(cancel(client))
        server.wait_until_all_closed()


def test_a_host_is_looked_up_once_for_all_who_need_it(
    sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many that begin at once ask the name server once, in one thread."""
    look_up, asked, go_on = socket.getaddrinfo, [], threading.Event()

    def slow_look_up(*args: object, **options: object) -> object:
        asked.append(args)
        go_on.wait(PATIENCE)
        return look_up(*args, **options)  # type: ignore[arg-type]

    async def create_many(client: SessionsClient) -> set[str]:
        calls = [asyncio.create_task(client.acreate()) for _ in range(20)]
        for _ in range(100):  # turns of the loop, of which each lets some begin
            await asyncio.sleep(0)
        go_on.set()
        return {answer.body["id"] for answer in await asyncio.gather(*calls)}

    monkeypatch.setattr(socket, "getaddrinfo", slow_look_up)
    base_url = sessions_api.base_url.replace("127.0.0.1", "localhost")
    with SessionsClient(base_url, retries=0) as client:
        assert len(asyncio.run(create_many(client))) == 20
    assert len(asked) == 1


def test_calls_that_are_cancelled_before_they_begin(sessions_api: SessionsAPI) -> None:
    """Of so many at once most wait for their turn; nothing is left that Python would warn of."""

    async def main(client: SessionsClient) -> None:
        calls = [asyncio.ensure_future(client.aget("sesh_1")) for _ in range(300)]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    with SessionsClient(sessions_api.base_url) as client, warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main(client))
        gc.collect()


def test_a_look_up_that_fails_unusually(sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replaced getaddrinfo may raise any exception; the next call looks up again."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no network in tests")

    base_url = sessions_api.base_url.replace("127.0.0.1", "localhost")
    with SessionsClient(base_url, retries=0) as client:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", refuse)
            with pytest.raises(APIConnectionError, match="no network in tests"):
                client.create()
        client.create()


FEW_DESCRIPTORS = """
import asyncio, logging, os, resource, sys
from concurrent.futures import ThreadPoolExecutor
from hl_sessions import SessionManager

logging.basicConfig(stream=sys.stdout, format="%(message)s")

def read(_):
    with manager.session() as session:
        return session.id

async def aread():
    async with manager.session() as session:
        return await session.aid()

async def main():
    return await asyncio.gather(*(aread() for _ in range(100)))

with ThreadPoolExecutor(100) as threads:
    with SessionManager(sys.argv[1]) as manager:
        read(None)
        asyncio.run(main())  # all is imported, and all connections are closed
    manager = SessionManager(sys.argv[1], timeout=100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(220 - len(os.listdir("/dev/fd")))]
    ids = {*asyncio.run(main()), *threads.map(read, range(100))}
    print(len(ids - {None}), len(ids))
"""


def test_more_at_once_than_there_are_descriptors(sessions_api: SessionsAPI, tmp_path: Path) -> None:
    """The others wait until some have ended, and no outage is reported."""

    def answer(request: Request) -> Answer:
        time.sleep(0.1)  # as long as all that can have a connection take to ask
        return create_sessions(request)

    sessions_api.answer = answer
    process = subprocess.run(
        [sys.executable, "-c", FEW_DESCRIPTORS, sessions_api.base_url],
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (process.stdout, process.stderr) == ("200 200\n", "")


def test_a_process_keeps_descriptors_for_itself(
    sessions_api: SessionsAPI, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that it may have, connections that wait for the next request take an eighth."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, resource.RLIM_INFINITY))
    with SessionsClient(sessions_api.base_url) as client:
        calls = in_threads(client.create, 20)
        wait_until(lambda: sessions_api.posts == 20)
        gate.opened.set()
        assert len({call.result(PATIENCE).body["id"] for call in calls}) == 20
        wait_until(lambda: sessions_api.open_connections == 8)
    wait_until(lambda: not sessions_api.open_connections)
