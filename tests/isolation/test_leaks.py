"""A million scopes and a hundred thousand sessions leave nothing behind."""

import asyncio
import contextvars
import gc
import sys
import sysconfig
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hl_sessions import (
    SessionManager,
    acurrent_session_id,
    bind,
    current_session,
    current_session_id,
)
from hl_sessions.integrations.asgi import HLSessionMiddleware as ASGIMiddleware
from hl_sessions.integrations.wsgi import HLSessionMiddleware as WSGIMiddleware
from hl_sessions.process.worker_threads import MAX_WORKERS
from hl_sessions.stores import MemoryStore
from tests.isolation.conftest import CountingClient
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE

# Objects, which the interpreter counts by itself, all but the largest buffers: tracing would take three times
# as long. What one scope in a hundred, one session in twenty, or a manager leaves behind is more; the free
# lists of the interpreter, which still fill up after the warm-up, are less.
GROWTH = 1000
MOST_LOOKS = 3
WARM_UP = 2_000
SCOPES = 100_000  # of each kind, of which there are ten
SESSIONS = 20_000  # of each kind, of which there are five

pytestmark = pytest.mark.skipif(not hasattr(sys, "getallocatedblocks"), reason="objects are not counted")

OPEN_FILES = Path("/proc/self/fd")
ESTABLISHED = "01"  # in /proc/self/net/tcp


@pytest.fixture
def manager() -> Iterator[SessionManager]:
    with SessionManager(client=CountingClient(), store=MemoryStore(maxsize=100)) as manager:
        yield manager


def open_files() -> int:
    return len(list(OPEN_FILES.iterdir())) if OPEN_FILES.exists() else 0


class Ground:
    """What there is before and after."""

    def __init__(self) -> None:
        gc.collect()
        self.threads = set(threading.enumerate())
        self.open_files = open_files()
        self.objects = sys.getallocatedblocks()


def assert_nothing_stays(repeat: Callable[[int], Any], count: int) -> int:
    """Fail if repeating something grows what there is after a warm-up; return how often it was done."""
    others = set(threading.enumerate())
    repeat(WARM_UP)
    # What stays behind does so each time. What a thread of another test makes meanwhile, such as a server
    # that opens its database, is made once.
    done = WARM_UP
    for _ in range(MOST_LOOKS):
        before = Ground()
        repeat(count)
        done += count
        after = Ground()
        growth = after.objects - before.objects
        # As many workers as were busy at one time stay for the next.
        workers = {thread for thread in after.threads - others if thread.name.startswith("hl-sessions_")}
        stays = after.threads - workers - before.threads
        if growth < GROWTH and not stays and after.open_files <= before.open_files:
            break
    assert growth < GROWTH
    assert len(workers) <= MAX_WORKERS
    assert not stays
    assert after.open_files <= before.open_files
    assert current_session() is None
    return done


class Scopes:
    """A hundred thousand scopes of each kind, in which the ID is not read."""

    def __init__(self, manager: SessionManager) -> None:
        self.manager = manager
        self.scope = manager.session()

    def plain(self, count: int) -> None:
        for _ in range(count):
            with self.manager.session():
                pass

    def handed_on(self, count: int) -> None:
        def step() -> contextvars.Context:
            with self.manager.session(new=True):
                return contextvars.copy_context()

        context = contextvars.Context()
        for _ in range(count):
            context = context.run(step)
        # Before it goes: the last one must not hold all those before it.
        self.last = context

    def nested_in_a_long_one(self, count: int) -> None:
        def go_deeper(count: int) -> None:
            with self.manager.session(new=True), self.manager.session(key=count + 1):
                if count:
                    go_deeper(count - 1)

        with self.manager.session():
            for _ in range(count // 20):
                go_deeper(9)

    def keyed(self, count: int) -> None:
        for number in range(count):
            with self.manager.session(key=number):
                pass

    def one_object(self, count: int) -> None:
        scope = self.scope
        for _ in range(count):
            with scope:
                pass

    def decorated(self, count: int) -> None:
        function = self.manager.with_session(current_session)
        for _ in range(count):
            function()

    def generators(self, count: int) -> None:
        @self.manager.with_session
        def generator() -> Iterator[int]:
            yield 1

        for _ in range(count):
            for _ in generator():
                pass

    def generators_left_elsewhere(self, count: int) -> None:
        def generator() -> Iterator[int]:
            with self.manager.session(new=True):
                yield 1

        previous: Any = generator()
        elsewhere = contextvars.Context()
        for _ in range(count):
            current: Any = generator()
            next(current)
            elsewhere.run(previous.close)
            previous = current
        previous.close()

    def asynchronous(self, count: int) -> None:
        async def main() -> None:
            for _ in range(count):
                async with self.manager.session():
                    pass

        asyncio.run(main())

    def requests(self, count: int) -> None:
        async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
            pass

        def wsgi_app(environ: Any, start_response: Any) -> Iterator[bytes]:
            yield b""

        asgi: Any = ASGIMiddleware(asgi_app, self.manager)
        wsgi: Any = WSGIMiddleware(wsgi_app, self.manager)

        async def main() -> None:
            for _ in range(count // 2):
                await asgi({"type": "http"}, None, None)

        asyncio.run(main())
        for _ in range(count // 2):
            body = wsgi({}, None)
            for _ in body:
                pass
            body.close()


KINDS_OF_SCOPES = [name for name in vars(Scopes) if not name.startswith("_")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS_OF_SCOPES)
def test_scopes(manager: SessionManager, kind: str) -> None:
    """A hundred thousand scopes of a kind leave no memory, thread or socket behind."""
    assert len(KINDS_OF_SCOPES) * SCOPES == 1_000_000
    scopes = Scopes(manager)
    assert_nothing_stays(getattr(scopes, kind), SCOPES)


class Sessions:
    """Twenty thousand sessions of each kind."""

    def __init__(self, manager: SessionManager) -> None:
        self.manager = manager
        self.keys = iter(range(10**9))

    def unkeyed(self, count: int) -> None:
        for _ in range(count):
            with self.manager.session() as session:
                assert current_session_id() == session.id
                session.log_params()

    def keyed(self, count: int) -> None:
        for _ in range(count):
            with self.manager.session(key=next(self.keys)) as session:
                assert session.id is not None

    def ended(self, count: int) -> None:
        for _ in range(count):
            with self.manager.session(key="chat") as session:
                assert session.id is not None
                session.end()

    def asynchronous(self, count: int) -> None:
        async def read() -> None:
            async with self.manager.session() as session:
                assert await acurrent_session_id() is not None
                assert session.reference_id

        async def read_keyed() -> None:
            async with self.manager.session(key=next(self.keys)) as session:
                assert await session.aid() is not None

        async def main(read: Callable[[], Awaitable[None]]) -> None:
            for _ in range(count // 2 // 20):
                await asyncio.gather(*(read() for _ in range(20)))

        asyncio.run(main(read))
        asyncio.run(main(read_keyed))

    def in_other_threads(self, count: int) -> None:
        def read() -> None:
            for _ in range(count // 100):
                with self.manager.session() as session:
                    assert contextvars.Context().run(bind(current_session_id)) == session.id

        for _ in range(50):
            threads = [threading.Thread(target=read) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


KINDS_OF_SESSIONS = [name for name in vars(Sessions) if not name.startswith("_")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS_OF_SESSIONS)
def test_sessions(kind: str) -> None:
    """Twenty thousand created sessions of a kind leave no memory, thread or socket behind."""
    client = CountingClient()
    threads = set(threading.enumerate())
    with SessionManager(client=client, store=MemoryStore(maxsize=100), idle_timeout=3600) as manager:
        done = assert_nothing_stays(getattr(Sessions(manager), kind), SESSIONS)
        assert client.created == done
        workers = set(threading.enumerate()) - threads
    assert len(KINDS_OF_SESSIONS) * SESSIONS == 100_000
    for worker in workers:
        worker.join(PATIENCE)
    assert set(threading.enumerate()) <= threads


@pytest.mark.slow
@pytest.mark.skipif(
    sysconfig.get_config_var("Py_GIL_DISABLED") == 1 and sys.version_info < (3, 14),
    reason="Python 3.13 without a global lock keeps every class, and a manager has one",
)
def test_managers() -> None:
    """Managers that are closed and forgotten leave nothing behind, used as they may be."""

    async def read(manager: SessionManager) -> None:
        async with manager.session() as session:
            assert await session.aid() is not None

    of_others = set(threading.enumerate())

    def repeat(count: int) -> None:
        for _ in range(count // 20):
            with SessionManager(client=CountingClient(), prefetch=4) as manager:
                with manager.session(key="chat") as session:
                    assert session.id is not None
                asyncio.run(read(manager))
            for thread in set(threading.enumerate()) - of_others:
                thread.join(PATIENCE)

    assert_nothing_stays(repeat, 4_000)


@pytest.mark.skipif(not OPEN_FILES.exists(), reason=f"no {OPEN_FILES}")
def test_sockets(sessions_api: SessionsAPI) -> None:
    """Threads and event loops that come and go share a few connections; close() leaves none open."""

    async def read(manager: SessionManager) -> None:
        async with manager.session() as session:
            assert await session.aid() is not None

    def use(manager: SessionManager) -> None:
        with manager.session() as session:
            assert session.id is not None
        asyncio.run(read(manager))

    def repeat(manager: SessionManager, count: int) -> None:
        for _ in range(count):
            threads = [threading.Thread(target=use, args=(manager,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def connected() -> int:
        # Those of this process to the API, which has one end of each here, too.
        port = int(sessions_api.base_url.split(":")[2].split("/")[0])
        lines = Path("/proc/self/net/tcp").read_text(encoding="ascii").splitlines()
        peers = [line.split()[2] for line in lines if line.split()[3] == ESTABLISHED]
        return sum(peer.endswith(f":{port:04X}") for peer in peers)

    with SessionManager(sessions_api.base_url, retries=0) as manager:
        repeat(manager, 5)
        connections, files = sessions_api.connections, open_files()
        repeat(manager, 50)
        assert sessions_api.connections - connections <= 8
        assert open_files() - files <= 2 * 8
        assert connected() > 0
    assert connected() == 0
    for _ in range(20):
        with SessionManager(sessions_api.base_url, retries=0) as manager:
            repeat(manager, 1)
        assert connected() == 0
