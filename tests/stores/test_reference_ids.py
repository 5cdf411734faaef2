"""Datapoints that processes log by reference during an outage, as the server has them afterwards."""

import json
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from hl_sessions.server.application import create_application
from hl_sessions.server.run.serving import base_url as base_url_of
from hl_sessions.server.run.serving import in_background, listen
from hl_sessions.server.settings import ServerSettings
from hl_sessions.stores import SQLiteStore
from tests.waiting import PATIENCE, in_threads, wait_until

# Does what it is told, a line each: ["log", key] answers the parameters, ["end", key] null.
PROCESS = f"""
import json, sys
import hl_sessions.stores.redis, hl_sessions.stores.sqlite
from hl_sessions import SessionManager
from hl_sessions.stores import RedisStore, SQLiteStore

hl_sessions.stores.redis.TIMEOUT = hl_sessions.stores.sqlite.BUSY_TIMEOUT = {PATIENCE}
kind, where, namespace, hash_keys, base_url = sys.argv[1:]
Store = SQLiteStore if kind == "sqlite" else RedisStore
store = Store(where, namespace=namespace, hash_keys=hash_keys == "True")
manager = SessionManager(base_url, store=store, timeout={PATIENCE}, retries=0)
for line in sys.stdin:
    command, key = json.loads(line)
    with manager.session(key=key) as session:
        print(json.dumps(session.log_params() if command == "log" else session.end()), flush=True)
"""


class Server:
    """Our server, which can be taken away; everything that arrives is recorded."""

    def __init__(self, database: Path) -> None:
        settings = ServerSettings(port=0, database=str(database))
        self._application = create_application(settings)
        self._listener = listen(settings.host, settings.port)
        self.base_url = base_url_of(self._listener)
        self.is_up = True
        self.received = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        async def recorded() -> Any:
            message = await receive()
            self.received += message.get("body", b"")
            return message

        self.received += repr([scope["raw_path"], scope["query_string"], scope["headers"]]).encode()
        if self.is_up:
            await self._application(scope, recorded, send)
            return
        await recorded()
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @contextmanager
    def running(self) -> Iterator["Server"]:
        with self._listener, in_background(self, self._listener):
            yield self

    def log(self, params: dict[str, str]) -> str:
        """Log a datapoint as an application does, and return the ID of its session."""
        answer = requests.post(
            f"{self.base_url}/logs", json={"project": "bots", "output": "hello", **params}, timeout=PATIENCE
        )
        answer.raise_for_status()
        session_id: str = answer.json()["session_id"]
        return session_id

    def datapoints(self, session_id: str) -> int:
        answer = requests.get(f"{self.base_url}/sessions/{session_id}", timeout=PATIENCE)
        count: int = answer.json()["datapoints_count"]
        return count


class Process:
    """A process with a manager of its own."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def tell(self, command: str, key: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([command, key]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()  # the end of what it is told is the end of it


@pytest.mark.parametrize(
    "key", ["alice@example.com", pytest.param("b\0b@example.com", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("hash_keys", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("valkey", marks=pytest.mark.slow)])
def test_an_outage(kind: str, key: str, redis_server: str, tmp_path: Path, *, hash_keys: bool) -> None:
    """Each conversation has its session, before and after its end, and no request has its key."""
    where = str(tmp_path / "conversations.db") if kind == "sqlite" else redis_server
    bot, other_bot = (f"{name}-{uuid.uuid4()}" for name in ("bot", "other"))
    with Server(tmp_path / "server.db").running() as server, ExitStack() as running:
        processes = [
            Process(kind, where, namespace, str(hash_keys), server.base_url)
            for namespace in (bot, bot, other_bot)
        ]
        for process in processes:
            running.callback(process.close)
        one, two, other = processes

        server.is_up = False
        begun = [one.tell("log", key), two.tell("log", key), one.tell("log", key)]
        of_other = other.tell("log", key)
        two.tell("end", key)
        ended = [one.tell("log", key), two.tell("log", key)]
        server.is_up = True

        sessions = [{server.log(params) for params in logged} for logged in (begun, ended, [of_other])]
        assert [len(ids) for ids in sessions] == [1, 1, 1]
        assert len(set().union(*sessions)) == 3
        assert [server.datapoints(*ids) for ids in sessions] == [3, 2, 1]

        def goes_on(process: Process) -> str:
            params: list[dict[str, str]] = []

            def has_session() -> bool:
                params.append(process.tell("log", key))
                return "session_id" in params[-1]

            wait_until(has_session)  # the outage is over for it, too
            assert all(each == ended[0] for each in params[:-1])
            return params[-1]["session_id"]

        assert goes_on(one) == goes_on(two) != goes_on(other)
    for form in (key, key.encode().hex(), quote(key), json.dumps(key)[1:-1], key.partition("@")[0]):
        assert form.encode() not in server.received
    assert b"session_reference_id" in server.received


@pytest.mark.parametrize("count", [1, 16])
def test_a_file_of_the_first_version(tmp_path: Path, count: int) -> None:
    """Its conversations go on, and have reference IDs, however many processes open it at the same moment."""
    path = tmp_path / "conversations.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE conversations (key TEXT PRIMARY KEY, session_id TEXT, previous_id TEXT, last_use"
            " REAL, ended INTEGER NOT NULL DEFAULT 0, claimant TEXT, claim_ends REAL) WITHOUT ROWID"
        )
        insert = "INSERT INTO conversations VALUES (?, ?, 'sesh_0', ?, ?, NULL, NULL)"
        now = time.time()
        connection.executemany(insert, [("going on", "sesh_1", now, 0), ("ended", "sesh_2", now, 1)])
    connection.close()
    stores = [SQLiteStore(path) for _ in range(count)]
    opening = [in_threads(partial(store.get, "going on", max_idle=None))[0] for store in stores]
    (conversation,) = {each.result(PATIENCE) for each in opening}
    assert conversation[:2] == ("sesh_1", "sesh_0")
    reference_id = stores[-1].reference_id("ended", max_idle=None)
    assert len({conversation.reference_id, reference_id, None}) == 3
    for store in stores:
        assert store.reference_id("going on", max_idle=None) == conversation.reference_id
        assert store.get("ended", max_idle=None) is None
    assert stores[0].claim("ended", "one", lease=5, max_idle=None) == (reference_id, "sesh_2")
    assert stores[0].save("ended", "one", "sesh_3") == ("sesh_3", "sesh_2", reference_id)
    for store in stores:
        store.close()
