"""Many processes, threads and tasks that use one store."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import hl_sessions.availability.outage
import hl_sessions.conversations.keeper
from hl_sessions import SessionManager, current_session_id
from hl_sessions.availability.outage import LONGEST_COOL_OFF
from hl_sessions.stores import Conversation, ConversationStore, RedisStore, SQLiteStore
from tests.servers import valkey_server
from tests.sessions_api import Answer, Request, SessionsAPI, create_sessions
from tests.stores.conftest import OUTSIDE, TIME_LIMITS
from tests.waiting import PATIENCE, StillClock, ends_within, wait_until

PROCESSES = 16
KEYS = 200

# Each process reads all keys: half of the processes in threads, the others in tasks.
CHILDREN = f"""
import asyncio, json, os, random, sys, threading
import redis
import hl_sessions.conversations.keeper, hl_sessions.stores.redis, hl_sessions.stores.sqlite
from hl_sessions import SessionManager
from hl_sessions.stores import RedisStore, SQLiteStore

# No process is too slow for the others, as many share few CPUs.
hl_sessions.conversations.keeper.LONGEST_LEASE = {PATIENCE}
hl_sessions.stores.redis.TIMEOUT = hl_sessions.stores.sqlite.BUSY_TIMEOUT = {PATIENCE}

kind, where, base_url, folder = sys.argv[1:]
start_read, start_write = os.pipe()

def make_store():
    if kind == "sqlite":
        return SQLiteStore(where)
    if kind == "valkey cluster":
        return RedisStore(redis.RedisCluster.from_url(where, **{TIME_LIMITS}))
    return RedisStore(where)

def read(manager, key, ids):
    with manager.session(key=key) as session:
        ids[key] = session.id

async def read_all(manager, keys, ids):
    async def aread(key):
        async with manager.session(key=key) as session:
            ids[key] = await session.aid()
    await asyncio.gather(*map(aread, keys))

def work(number):
    keys = [f"key {{n}}" for n in range({KEYS})]
    random.Random(number // 4).shuffle(keys)  # some in the same order, so at the same moment
    ids = {{}}
    with SessionManager(base_url, store=make_store(), timeout={PATIENCE}) as manager:
        os.read(start_read, 1)
        if number % 2:
            asyncio.run(read_all(manager, keys, ids))
        else:
            def read_some(part):
                for key in part: read(manager, key, ids)
            threads = [threading.Thread(target=read_some, args=(keys[n::4],)) for n in range(4)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
    with open(os.path.join(folder, f"{{number}}.json"), "w") as file: json.dump(ids, file)

children = []
for number in range({PROCESSES}):
    child = os.fork()
    if not child:
        try:
            work(number)
        finally:
            os._exit(0)
    children.append(child)
os.write(start_write, b"s" * {PROCESSES})
for child in children: os.waitpid(child, 0)
"""


def where(store: ConversationStore, request: pytest.FixtureRequest, kind: str) -> str:
    if kind == "sqlite":
        return str(store._path)  # type: ignore[attr-defined]
    name = {"valkey": "redis_server", "valkey cluster": "valkey_cluster", "old redis": "old_redis"}[kind]
    return str(request.getfixturevalue(name))


@pytest.mark.slow
@pytest.mark.parametrize(("store", "kind"), [(kind, kind) for kind in OUTSIDE], indirect=["store"])
def test_one_session_for_each_key(
    store: ConversationStore,
    kind: str,
    request: pytest.FixtureRequest,
    sessions_api: SessionsAPI,
    tmp_path: Path,
) -> None:
    """16 processes that ask for 200 keys at once, in threads and tasks, make 200 sessions, one for each."""
    arguments = [kind, where(store, request, kind), sessions_api.base_url, str(tmp_path)]
    run = subprocess.run(
        [sys.executable, "-c", CHILDREN, *arguments],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=True,
    )
    assert run.stderr == ""
    of_processes: list[dict[str, Any]] = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert len(of_processes) == PROCESSES
    assert all(ids == of_processes[0] for ids in of_processes)
    assert len({*of_processes[0].values()}) == KEYS
    assert None not in of_processes[0].values()
    assert sessions_api.posts == KEYS


@pytest.mark.parametrize(("store", "kind"), [("sqlite", "sqlite"), ("valkey", "valkey")], indirect=["store"])
@pytest.mark.slow
def test_a_process_that_dies_while_creating(
    store: ConversationStore,
    kind: str,
    make_store: Callable[[str], ConversationStore],
    sessions_api: SessionsAPI,
    request: pytest.FixtureRequest,
) -> None:
    """Its claim is void within seconds, and another process makes the session."""
    code = (
        "import sys\n"
        "import hl_sessions.conversations.keeper\n"
        "from hl_sessions import SessionManager\n"
        "from hl_sessions.stores import RedisStore, SQLiteStore\n"
        "hl_sessions.conversations.keeper.LONGEST_LEASE = 2\n"
        "kind, where, base_url = sys.argv[1:]\n"
        "store = SQLiteStore(where) if kind == 'sqlite' else RedisStore(where)\n"
        "manager = SessionManager(base_url, store=store, timeout=60)\n"
        "with manager.session(key='a') as session: print(session.id)\n"
    )
    posted: list[Request] = []

    def kill_the_first(request: Request) -> Answer:
        posted.append(request)
        if len(posted) == 1:
            process.kill()
        return create_sessions(request)

    sessions_api.answer = kill_the_first
    command = [sys.executable, "-c", code, kind, where(store, request, kind), sessions_api.base_url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL
    assert output == b""

    with ends_within(10), SessionManager(sessions_api.base_url, store=store) as manager:
        with manager.session(key="a") as session:
            assert session.id is not None
            assert session.previous_id is None
        with (
            SessionManager(sessions_api.base_url, store=make_store(kind)) as other,
            other.session(key="a") as same,
        ):
            assert same.id == session.id
    assert len(posted) == 2


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "valkey"], indirect=True)
class TestLife:
    def test_ended_by_another_process(
        self,
        store: ConversationStore,
        make_store: Callable[[str], ConversationStore],
        request: pytest.FixtureRequest,
        sessions_api: SessionsAPI,
    ) -> None:
        """After an end the next scope has a new session, in every process, which names the one before."""
        kind = "valkey" if isinstance(store, RedisStore) else "sqlite"
        managers = [SessionManager(sessions_api.base_url, store=make_store(kind)) for _ in range(2)]
        ids = []
        for number in range(3):
            with managers[number % 2].session(key="a") as session:
                ids.append(session.id)
                before = session.previous_id
            with managers[1 - number % 2].session(key="a") as same:
                assert (same.id, same.previous_id) == (session.id, before)
                if number == 1:
                    same.end()
                else:
                    managers[number % 2].end("a")
            assert before == (ids[-2] if number else None)
        assert len({*ids}) == 3
        for manager in managers:
            manager.close()

    def test_idle_time_across_processes(
        self,
        store: ConversationStore,
        make_store: Callable[[str], ConversationStore],
        sessions_api: SessionsAPI,
    ) -> None:
        """It runs from the end of the last scope that read, in any process, to the entry of the next."""
        kind = "valkey" if isinstance(store, RedisStore) else "sqlite"
        managers = [
            SessionManager(sessions_api.base_url, store=make_store(kind), idle_timeout=idle_timeout)
            for idle_timeout in (3600, 3, 0.5)
        ]
        one, patient, impatient = managers
        with one.session(key="a") as session:
            first = session.id
            time.sleep(3.5)  # time has to pass
        with patient.session(key="a") as session:
            assert session.id == first
        time.sleep(0.6)
        with impatient.session(key="a") as session:
            assert session.id != first
            assert session.previous_id == first
        for manager in managers:
            manager.close()


def test_sqlite_after_a_fork(tmp_path: Path, sessions_api: SessionsAPI) -> None:
    """A child has connections of its own; parent and child go on with the same conversation."""
    code = (
        "import os, sys\n"
        "from hl_sessions import SessionManager\n"
        "from hl_sessions.stores import SQLiteStore\n"
        "manager = SessionManager(sys.argv[2], store=SQLiteStore(sys.argv[1]), timeout=60)\n"
        "def read(key):\n"
        "    with manager.session(key=key) as session: print(key, session.id, flush=True)\n"
        "read('a')\n"
        "if os.fork() == 0:\n"
        "    read('a'); read('b'); os._exit(0)\n"
        "os.wait(); read('a'); read('b')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "conversations.db"), sessions_api.base_url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 5
    assert len({*lines}) == 2
    assert sessions_api.posts == 2


def test_sqlite_of_a_child_whose_parent_closes(tmp_path: Path, sessions_api: SessionsAPI) -> None:
    """A forked child's conversations are in the file, while its parent uses its own connections."""
    code = (
        "import os, sys\n"
        "from hl_sessions import SessionManager\n"
        "from hl_sessions.stores import SQLiteStore\n"
        "store = SQLiteStore(sys.argv[1])\n"
        "manager = SessionManager(sys.argv[2], store=store, timeout=60)\n"
        "def read(key):\n"
        "    with manager.session(key=key) as session: print(key, session.id, flush=True)\n"
        "to_parent, to_child = os.pipe(), os.pipe()\n"
        "read('a')\n"
        "if os.fork() == 0:\n"
        "    read('b'); os.write(to_parent[1], b'x'); os.read(to_child[0], 1); read('c'); os._exit(0)\n"
        "os.read(to_parent[0], 1)\n"
        "store.close(); os.write(to_child[1], b'x'); os.wait()\n"
        "read('a'); read('b'); read('c')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "conversations.db"), sessions_api.base_url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert sorted(run.stdout.splitlines()) == sorted(2 * [*{*run.stdout.splitlines()}])
    assert sessions_api.posts == 3


def test_sqlite_file_that_is_removed(tmp_path: Path, sessions_api: SessionsAPI) -> None:
    """It is made anew."""
    path = tmp_path / "conversations.db"
    with SQLiteStore(path) as store, SessionManager(sessions_api.base_url, store=store) as manager:
        ids = set()
        for _ in range(2):
            with manager.session(key="a") as session:
                ids.add(session.id)
            store.close()
            for file in tmp_path.iterdir():
                file.unlink()
        assert len(ids) == 2
        assert None not in ids


@pytest.mark.parametrize("value", [b"garbage", b"[]", b"7", b"\xff", b'{"session": null}'])
def test_a_value_of_somebody_else(redis_server: str, sessions_api: SessionsAPI, value: bytes) -> None:
    """No reader fails: the conversation starts anew."""
    with RedisStore(redis_server) as store, SessionManager(sessions_api.base_url, store=store) as manager:
        store._client.set("hl-sessions:" + store.entry_key(sessions_api.base_url, "broken"), value)
        with manager.session(key="broken") as session:
            first = session.id
            assert first is not None
        with manager.session(key="broken") as session:
            assert session.id == first


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "valkey"])
def test_a_creation_that_takes_longer_than_a_lease(
    kind: str,
    make_store: Callable[[str], ConversationStore],
    sessions_api: SessionsAPI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The claim is renewed meanwhile: others wait for it, and all get the same session of one POST."""
    monkeypatch.setattr(hl_sessions.conversations.keeper, "LONGEST_LEASE", 3)
    is_slow = threading.Event()

    def answer_slowly(request: Request) -> Answer:
        is_slow.set()
        time.sleep(5)  # as slow an API as this test is about
        return create_sessions(request)

    sessions_api.answer = answer_slowly
    managers = [SessionManager(sessions_api.base_url, store=make_store(kind)) for _ in range(2)]

    def read(manager: SessionManager) -> str | None:
        with manager.session(key=f"slow {kind}") as session:
            return session.id

    with ThreadPoolExecutor() as pool:
        first = pool.submit(read, managers[0])
        assert is_slow.wait(20)
        assert pool.submit(read, managers[1]).result() == first.result()
    assert sessions_api.posts == 1
    for manager in managers:
        manager.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "valkey"])
def test_a_conversation_that_another_process_is_in(
    kind: str, make_store: Callable[[str], ConversationStore], sessions_api: SessionsAPI
) -> None:
    """It is not idle, however long that scope takes."""
    idle_timeout = 3
    one, two = (
        SessionManager(sessions_api.base_url, store=make_store(kind), idle_timeout=idle_timeout)
        for _ in range(2)
    )
    with one.session(key=f"long {kind}") as session:
        first = session.id
        time.sleep(1.5 * idle_timeout)  # time has to pass
        with two.session(key=f"long {kind}") as same:
            assert same.id == first
    one.close()
    two.close()


@pytest.mark.slow
def test_a_conversation_that_goes_on_after_an_end_in_its_scope(
    make_store: Callable[[str], ConversationStore], sessions_api: SessionsAPI
) -> None:
    """Another process does not take it for idle, even if a scope of the ended one is still open."""
    idle_timeout = 3
    one, two = (
        SessionManager(sessions_api.base_url, store=make_store("sqlite"), idle_timeout=idle_timeout)
        for _ in range(2)
    )
    keys = [str(number) for number in range(10)]
    first, second = {}, {}
    with ExitStack() as scopes:
        for key in keys:
            old = scopes.enter_context(one.session(key=key))
            assert old.id
            old.end()
            first[key] = scopes.enter_context(one.session(key=key)).id
        time.sleep(1.5 * idle_timeout)  # time has to pass
        for key in keys:
            with two.session(key=key) as session:
                second[key] = session.id
    assert first == second
    one.close()
    two.close()


@pytest.mark.parametrize("ends_elsewhere", [False, True])
def test_a_conversation_that_is_ended_while_its_session_is_created(
    make_store: Callable[[str], ConversationStore], sessions_api: SessionsAPI, *, ends_elsewhere: bool
) -> None:
    """By any process: its scope has a session, by which it logs; the next scope has another one."""
    one, two = (SessionManager(sessions_api.base_url, store=make_store("sqlite")) for _ in range(2))

    def end_first(request: Request) -> Answer:
        sessions_api.answer = create_sessions
        (two if ends_elsewhere else one).end("a")
        return create_sessions(request)

    sessions_api.answer = end_first
    with one.session(key="a") as session:
        assert session.id is not None
        assert session.log_params() == {"session_id": session.id}
    with two.session(key="a") as later:
        assert later.id not in {None, session.id}
    one.close()
    two.close()


def test_more_readers_at_once_than_a_pool_has_connections(
    redis_server: str, sessions_api: SessionsAPI
) -> None:
    """All find the conversation that the server knows: it is not taken for down."""
    count = 150
    with RedisStore(redis_server) as store, SessionManager(sessions_api.base_url, store=store) as manager:
        with manager.session(key="pool") as session:
            expected = session.id
        connections = [store._client.connection_pool.get_connection() for _ in range(count)]
        with manager.session(key="pool") as session:
            assert session.id == expected
            assert session.log_params() == {"session_id": expected}
        for connection in connections:
            store._client.connection_pool.release(connection)
    assert sessions_api.posts == 1


def test_a_handler_that_reads_while_the_store_logs(redis_server: str, sessions_api: SessionsAPI) -> None:
    """The log records of redis-py about a new connection neither recurse nor wait for themselves."""

    class Reading(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            current_session_id()

    handler, root = Reading(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with RedisStore(redis_server) as store, SessionManager(sessions_api.base_url, store=store) as manager:
            with manager.session(key="logging") as session:
                first = session.id
                assert session.log_params() == {"session_id": first}
            store.close()  # so that the next read connects again
            with manager.session(key="logging") as session:
                assert session.id == first
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def test_survives_a_restart(tmp_path: Path, sessions_api: SessionsAPI) -> None:
    """A conversation in a file goes on in the next run of a program."""
    code = (
        "import sys\n"
        "from hl_sessions import SessionManager\n"
        "from hl_sessions.stores import SQLiteStore\n"
        "manager = SessionManager(sys.argv[2], store=SQLiteStore(sys.argv[1]), timeout=60)\n"
        "with manager.session(key='a') as session:\n"
        "    print(session.id)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "conversations.db"), sessions_api.base_url]
    runs = [
        subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True).stdout for _ in range(2)
    ]
    assert runs[0] == runs[1] != b""
    assert sessions_api.posts == 1


@pytest.mark.skipif(os.name != "posix", reason="uses signals")
def test_a_redis_that_stands_still(sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes connections and answers nothing costs a moment, once in a while, and no session."""
    clock = StillClock()
    monkeypatch.setattr(hl_sessions.availability.outage, "time", clock)
    with (
        valkey_server() as server,
        RedisStore(f"{server.connection_url}?socket_timeout=1") as store,
        SessionManager(sessions_api.base_url, store=store) as manager,
    ):
        with manager.session(key="a") as session:
            first = session.id
        asked: list[str] = []
        references: list[str] = []
        get = store.get

        def counted_get(key: str, *, max_idle: float | None) -> Conversation | None:
            asked.append(key)
            return get(key, max_idle=max_idle)

        monkeypatch.setattr(store, "get", counted_get)
        process = server._process
        process.send_signal(signal.SIGSTOP)
        try:
            with ends_within(1):
                for _ in range(20):
                    with manager.session(key="a") as session:
                        assert session.id not in {None, first}
                        references.append(session.log_params()["session_reference_id"])
            assert len(asked) == 1
            assert references == [references[0]] * 20
        finally:
            process.send_signal(signal.SIGCONT)

        def is_back() -> bool:
            clock.offset += LONGEST_COOL_OFF
            with manager.session(key="a") as session:
                return session.id == first

        wait_until(is_back)
