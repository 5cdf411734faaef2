"""The sockets for which an event loop waits: one epoll watches them where there is one, else the loop."""

import asyncio
import select
import socket
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from hl_sessions.process.readiness import Readiness, readiness
from tests.waiting import PATIENCE


@pytest.fixture(params=["epoll", "loop"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "loop":
        monkeypatch.delattr(select, "epoll", raising=False)
    elif not hasattr(select, "epoll"):
        pytest.skip("this system has no epoll")


async def next_call(watched: Readiness, sock: socket.socket, *, writing: bool) -> None:
    called = asyncio.Event()
    watched.watch(sock.fileno(), called.set, writing=writing)
    await asyncio.wait_for(called.wait(), PATIENCE)
    watched.unwatch(sock.fileno(), writing=writing)


@pytest.mark.usefixtures("way")
def test_tells_when_a_socket_can_be_read_from_and_written_to() -> None:
    async def main() -> None:
        watched = readiness(asyncio.get_running_loop())
        here, there = socket.socketpair()
        with here, there:
            for _ in range(3):
                await next_call(watched, here, writing=True)
                there.send(b"x")
                await next_call(watched, here, writing=False)
                here.recv(1)

    asyncio.run(main())


@pytest.mark.usefixtures("way")
def test_a_socket_that_is_not_watched_any_more_is_not_told_of() -> None:
    async def main() -> None:
        watched = readiness(asyncio.get_running_loop())
        pairs = [socket.socketpair() for _ in range(2)]
        told: list[int] = []
        for here, there in pairs:
            there.send(b"x")
            watched.watch(here.fileno(), partial(told.append, here.fileno()), writing=False)
        watched.unwatch(pairs[0][0].fileno(), writing=False)
        await next_call(watched, pairs[1][1], writing=True)
        watched.unwatch(pairs[1][0].fileno(), writing=False)
        assert pairs[0][0].fileno() not in told
        for here, there in pairs:
            here.close()
            there.close()

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="only an epoll tells of several sockets at once")
def test_a_socket_with_the_number_of_a_closed_one_is_not_told_of() -> None:
    """Two sockets are ready, and the callback of the first replaces the second by one that is not."""

    async def main() -> None:
        watched = readiness(asyncio.get_running_loop())
        pairs = [socket.socketpair() for _ in range(2)]
        told: list[str] = []
        opened: list[socket.socket] = []

        def replace(position: int) -> None:
            told.append("ready")
            number = pairs[1 - position][0].fileno()
            for one in (position, 1 - position):
                watched.unwatch(pairs[one][0].fileno(), writing=False)
            pairs[1 - position][0].close()
            opened.extend(socket.socketpair())
            assert opened[0].fileno() == number
            watched.watch(number, partial(told.append, "new"), writing=False)

        for position, (here, there) in enumerate(pairs):
            there.send(b"x")
            watched.watch(here.fileno(), partial(replace, position), writing=False)
        await next_call(watched, pairs[0][1], writing=True)
        assert told == ["ready"]
        for sock in [*opened, *pairs[0], *pairs[1]]:
            sock.close()

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="counts the descriptors as Linux shows them")
@pytest.mark.usefixtures("way")
def test_a_loop_leaves_no_descriptor_behind() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def main() -> None:
        here, there = socket.socketpair()
        with here, there:
            await next_call(readiness(asyncio.get_running_loop()), here, writing=True)

    before = descriptors()
    with closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(main())
    assert descriptors() == before
