"""A call with an idempotency key is made once, however often and at whichever server it arrives."""

import itertools
import socket
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
from sqlalchemy import Connection, func, select, update

from hl_sessions import SessionsClient
from hl_sessions.server.database import postgresql as postgresql_module
from hl_sessions.server.database import retrying, sqlite
from hl_sessions.server.database.database import Database
from hl_sessions.server.database.tables import idempotency_keys, sessions
from hl_sessions.server.records.keys import create_key
from tests.faults import FaultServer, Play, Wire
from tests.server.conftest import Client
from tests.servers import locked_file, opened_database, served
from tests.waiting import PATIENCE, wait_until

DAY = timedelta(hours=24)


def make_older(there: Database, age: timedelta) -> None:
    """Make all keys older by this time."""

    def change(connection: Connection) -> None:
        for sequence, created_at in connection.execute(
            select(idempotency_keys.c.sequence, idempotency_keys.c.created_at)
        ).all():
            row = idempotency_keys.c.sequence == sequence
            connection.execute(update(idempotency_keys).where(row).values(created_at=created_at - age))

    there.write_now(change)


def with_key(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def datapoints(client: Client, project: str) -> list[dict[str, Any]]:
    """Return the datapoints of a project, newest first."""
    found = client.ok("GET", "/projects", params={"filter": project})["records"]
    if not found:
        return []
    [project_id] = [one["id"] for one in found]
    page = client.ok("GET", "/logs", params={"project_id": project_id, "size": 100})
    records: list[dict[str, Any]] = page["records"]
    assert page["total"] == len(records)
    return records


def test_a_list_of_datapoints_is_stored_once(client: Client, unique: str) -> None:
    """Each repetition is answered with the first IDs, in the form of the body."""
    logs = [
        {"project": unique, "session_reference_id": unique, "reference_id": f"{unique} {n}"} for n in "123"
    ]
    first, *others = (client.ok("POST", "/logs", json=logs, headers=with_key(unique)) for _ in range(3))
    assert len(first) == 3
    assert others == [first, first]
    assert [log["id"] for log in datapoints(client, unique)] == [log["id"] for log in reversed(first)]
    one = {"project": unique, "output": "one"}
    created = client.ok("POST", "/logs", json=one, headers=with_key(f"{unique}-2"))
    assert client.ok("POST", "/logs", json=one, headers=with_key(f"{unique}-2")) == created
    assert len(datapoints(client, unique)) == 4


def test_every_call_that_makes_or_changes_something_is_made_once(client: Client, unique: str) -> None:
    """It has the same status and the same answer."""
    log = client.log(project=f"{unique} 1", reference_id=unique)
    feedback = {"data_id": log["id"], "type": "rating", "value": "good"}
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/sessions", None),
        ("POST", "/feedback", feedback),
        ("POST", "/feedback", [feedback, {**feedback, "value": 0.1 + 0.2}]),
        ("POST", "/feedback", {"data_id": log["id"], "type": "rating", "unset": True}),
        ("POST", "/feedback", {"reference_id": unique, "type": "rating", "value": "bad"}),
        ("PATCH", f"/logs/{log['id']}", {"output": "done"}),
        ("PATCH", f"/logs?reference_id={unique}", {"error": "none"}),
        ("PATCH", "/logs", [{"id": log["id"], "stdout": "1"}, {"reference_id": unique, "stdout": "2"}]),
        ("POST", "/projects", {"name": f"{unique} 2"}),
        ("PATCH", f"/projects/{log['project_id']}", {"name": f"{unique} 3"}),
    ]
    for number, (method, path, body) in enumerate(calls):
        answers = [client(method, path, json=body, headers=with_key(f"{unique}-{number}")) for _ in range(2)]
        assert [answer.ok for answer in answers] == [True, True], answers[0].text
        assert answers[0].status_code == answers[1].status_code
        assert answers[0].json() == answers[1].json()
    assert len(client.ok("GET", f"/logs/{log['id']}")["feedback"]) == 3


def test_a_change_that_is_sent_again_changes_nothing(client: Client, unique: str) -> None:
    """Changes that were made since then stay, and are in the answer."""
    log = client.log(project=unique)
    path = f"/logs/{log['id']}"
    client.ok("PATCH", path, json={"output": "first"}, headers=with_key(unique))
    entries = [{"id": log["id"], "output": "list"}]
    client.ok("PATCH", "/logs", json=entries, headers=with_key(f"{unique}-2"))
    latest = client.ok("PATCH", path, json={"output": "second"})
    assert client.ok("PATCH", "/logs", json=entries, headers=with_key(f"{unique}-2")) == [latest]
    assert client.ok("PATCH", path, json={"output": "first"}, headers=with_key(unique)) == latest
    assert client.ok("GET", path) == latest
    assert client("DELETE", "/logs", params={"id": log["id"]}).ok
    assert client("PATCH", path, json={"output": "first"}, headers=with_key(unique)).status_code == 404
    assert client.ok("PATCH", "/logs", json=entries, headers=with_key(f"{unique}-2")) == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/logs", '{"project": "another"}'),
        ("POST", "/logs", '{"project":  "one"}'),
        ("POST", "/logs?n=1", '{"project": "one"}'),
        ("POST", "/projects", '{"name": "another"}'),
        ("POST", "/sessions", '{"project": "one"}'),
        ("PATCH", "/logs/data_AAAAAAAAAAAAAAAAAAAAAAAA", '{"output": "one"}'),
    ],
)
def test_a_key_belongs_to_one_request(client: Client, unique: str, method: str, path: str, body: str) -> None:
    """Another request with the key is refused with a reason, and does nothing."""

    def call(method: str, path: str, body: str) -> requests.Response:
        return client(method, path, data=body.replace("one", unique), headers=with_key(unique))

    first = call("POST", "/logs", '{"project": "one"}')
    answer = call(method, path, body)
    assert answer.status_code == 422
    [problem] = answer.json()["detail"]
    assert problem["loc"] == ["header", "Idempotency-Key"]
    assert problem["msg"] == "Another request had this key within the last 24 hours"
    assert call("POST", "/logs", '{"project": "one"}').json() == first.json()
    assert len(datapoints(client, unique)) == 1


@pytest.mark.parametrize(
    "key", ["", "7-chars", "x" * 129, "with space", '"quoted-key"', "a.b.c.d.e", "schlüssel"]
)
def test_a_malformed_key_is_refused(client: Client, unique: str, key: str) -> None:
    """The answer explains keys, and nothing is stored; 8 and 128 characters are allowed."""
    answer = client("POST", "/logs", json={"project": unique}, headers={"Idempotency-Key": key.encode()})
    assert answer.status_code == 422
    [problem] = answer.json()["detail"]
    assert problem["loc"] == ["header", "Idempotency-Key"]
    assert "8 to 128 characters" in problem["msg"]
    assert datapoints(client, unique) == []
    for length in (8, 128):
        client.ok("POST", "/sessions", headers=with_key(f"{unique}-_AZ09".rjust(128, "x")[-length:]))


def test_a_refusal_is_not_kept(client: Client, unique: str) -> None:
    """It has changed nothing, so the mistake can be corrected, in the body or elsewhere."""
    child = {"project": unique, "parent_reference_id": unique}
    assert client("POST", "/logs", json=child, headers=with_key(unique)).status_code == 422
    assert client("POST", "/logs", json={"project": 1}, headers=with_key(unique)).status_code == 422
    path = f"/logs?reference_id={unique}"
    assert client("PATCH", path, json={"output": "x"}, headers=with_key(f"{unique}-2")).status_code == 404
    client.log(project=unique, reference_id=unique)
    created = client.ok("POST", "/logs", json=child, headers=with_key(unique))
    assert client.ok("POST", "/logs", json=child, headers=with_key(unique)) == created
    assert client.ok("PATCH", path, json={"output": "x"}, headers=with_key(f"{unique}-2"))["output"] == "x"
    assert len(datapoints(client, unique)) == 2


def test_calls_without_a_key_and_other_calls_are_made_each_time(client: Client, unique: str) -> None:
    """A repeated deletion finds nothing to delete."""
    first, second = (client.log(project=unique)["id"] for _ in range(2))
    for status in (204, 404):
        answer = client("DELETE", "/logs", params={"id": first}, headers=with_key(unique))
        assert answer.status_code == status
    assert [log["id"] for log in datapoints(client, unique)] == [second]


def test_organisations_have_keys_of_their_own(database: str) -> None:
    """No organisation gets the answer of another."""
    with opened_database(database) as there:
        keys = [there.write_now(partial(create_key, name=name, organisation=name)) for name in ("a", "b")]
    with served(database) as base_url:
        created = {
            requests.post(
                f"{base_url}/sessions",
                headers={**with_key("12345678"), "X-API-KEY": key},
                timeout=PATIENCE,
            ).json()["id"]
            for key in keys * 2
        }
    assert len(created) == 2


def test_nothing_of_a_body_is_kept_beside_what_it_makes(tmp_path: Path) -> None:
    """Neither secrets nor texts: only a hash tells bodies apart."""
    with served(tmp_path / "database.sqlite3") as base_url:
        secrets = {"provider_api_keys": {"openai": "SECRET"}}
        body: Any = {"project": "p", "save": False, "output": "SAID", **secrets}
        requests.post(
            f"{base_url}/logs", json=body, headers=with_key("12345678"), timeout=PATIENCE
        ).raise_for_status()
        files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"12345678" in files
    assert b"SECRET" not in files
    assert b"SAID" not in files


def test_a_key_is_free_again_after_a_day(database: str) -> None:
    """Even if its row has not been deleted by then."""

    def post() -> str:
        answer = requests.post(f"{base_url}/sessions", headers=with_key("12345678"), timeout=PATIENCE)
        session_id: str = answer.json()["id"]
        return session_id

    with served(database) as base_url, opened_database(database) as there:
        first = post()
        make_older(there, DAY - timedelta(minutes=5))
        assert post() == first
        make_older(there, timedelta(minutes=5))
        second = post()
        assert second != first
        assert post() == second


def test_what_the_server_could_not_do_is_done_by_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of 5xx is not stored."""
    path = tmp_path / "database.sqlite3"
    with served(path) as base_url:
        client = Client(base_url)

        def post() -> requests.Response:
            return client("POST", "/logs", json={"project": "p"}, headers=with_key("12345678"))

        with monkeypatch.context() as impatient, locked_file(path):
            for module in (retrying, sqlite):
                impatient.setattr(module, "PATIENCE", 0.3)
            assert post().status_code == 503
        assert {post().json()["id"], post().json()["id"]} == {log["id"] for log in datapoints(client, "p")}


def test_while_a_request_is_under_way_the_same_one_has_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repetition is told when to come again. After the first call is answered, all are."""
    for module in (retrying, sqlite):
        monkeypatch.setattr(module, "PATIENCE", PATIENCE)
    path = tmp_path / "database.sqlite3"
    with served(path) as base_url, ThreadPoolExecutor(4) as threads:

        def post() -> requests.Response:
            return requests.post(
                f"{base_url}/logs", json={"project": "p"}, headers=with_key("12345678"), timeout=PATIENCE
            )

        with locked_file(path):
            waiting = {threads.submit(post) for _ in range(4)}
            while len(waiting) > 1:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for answer in done:
                    assert answer.result().status_code == 409
                    assert int(answer.result().headers["Retry-After"]) > 0
                    assert "Idempotency-Key" in answer.result().json()["detail"]
        [first] = waiting
        assert first.result().status_code == 200
        assert post().json() == first.result().json()
        assert len(datapoints(Client(base_url), "p")) == 1


def test_equal_calls_at_several_servers_are_made_once(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the same moment, on one database. Each call gets the same answer, or is told to come again."""
    for module in (retrying, sqlite):
        monkeypatch.setattr(module, "PATIENCE", PATIENCE)
    with ExitStack() as running, ThreadPoolExecutor(6) as threads:
        base_urls = [running.enter_context(served(database)) for _ in range(2)]
        together = threading.Barrier(6)

        def post(number: int) -> list[requests.Response]:
            answers = []
            for turn in range(10):
                logs = [{"project": "p", "session_reference_id": f"{turn % 3}"}] * 2
                together.wait(PATIENCE)
                answers.append(
                    requests.post(
                        f"{base_urls[number % 2]}/logs",
                        json=logs,
                        headers=with_key(f"turn-{turn:04}"),
                        timeout=PATIENCE,
                    )
                )
            return answers

        for answers in zip(*threads.map(post, range(6)), strict=True):
            assert {answer.status_code for answer in answers} <= {200, 409}
            assert len({answer.text for answer in answers if answer.ok}) == 1
        assert len(datapoints(Client(base_urls[0]), "p")) == 20


def test_of_equal_calls_in_open_transactions_one_is_made(
    postgresql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers begin the same change when neither has the key yet, and only the first makes it."""
    monkeypatch.setattr(retrying, "PATIENCE", PATIENCE)
    monkeypatch.setattr(postgresql_module, "_STOPPED_WRITER", int(1000 * PATIENCE))
    database = postgresql.new_database()
    with ExitStack() as running, ThreadPoolExecutor(2) as threads:
        clients = [Client(running.enter_context(served(database))) for _ in range(2)]
        log = clients[0].log(project="p", reference_id="1")
        watching = running.enter_context(psycopg.connect(database, autocommit=True))

        def are_waiting() -> bool:
            others = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            return watching.execute(f"SELECT count(*) FROM {others}").fetchone() == (2,)

        with psycopg.connect(database) as holding:
            holding.execute("SELECT 1 FROM projects WHERE id = %s FOR NO KEY UPDATE", [log["project_id"]])
            posts = [
                threads.submit(
                    client.ok, "POST", "/logs", json={"project": "p"}, headers=with_key("12345678")
                )
                for client in clients
            ]
            wait_until(are_waiting)
        first, second = (post.result() for post in posts)
        assert first == second
        assert [one["id"] for one in datapoints(clients[0], "p")] == [first["id"], log["id"]]


@pytest.mark.slow
def test_a_call_is_made_once_though_its_server_is_killed(
    database: str, tmp_path: Path, spawn: Callable[..., Any]
) -> None:
    """A server is killed under several writers. Writers that repeat all their calls get each once."""
    killed = spawn(tmp_path, "--db", database)
    asked: list[str] = []
    enough = threading.Event()

    def post(base_url: str, key: str) -> list[dict[str, str]]:
        logs = [{"project": "p", "output": key}] * 3
        answer = requests.post(f"{base_url}/logs", json=logs, headers=with_key(key), timeout=PATIENCE)
        answer.raise_for_status()
        created: list[dict[str, str]] = answer.json()
        return created

    def write(number: int) -> dict[str, list[dict[str, str]]]:
        answered = {}
        for turn in itertools.count():
            key = f"{number}-{turn:08}"
            asked.append(key)
            if len(asked) > 60:
                enough.set()
            try:
                answered[key] = post(killed.base_url, key)
            except requests.RequestException:
                return answered
        raise AssertionError

    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, number) for number in range(4)]
        assert enough.wait(PATIENCE)
        killed.process.kill()
        answered = {key: created for one in writing for key, created in one.result().items()}
    server = spawn(tmp_path, "--db", database)
    again = {key: post(server.base_url, key) for key in asked}
    assert again.items() >= answered.items()
    [project] = requests.get(f"{server.base_url}/projects", timeout=PATIENCE).json()["records"]
    assert project["data_count"] == 3 * len(asked)


def test_our_client_makes_one_session_though_the_answer_is_cut_off(
    database: str, serve: Callable[[Play], FaultServer]
) -> None:
    """The server made it before the connection broke. Another call makes another one."""
    with served(database) as base_url, opened_database(database) as there:
        answers: list[str] = []

        def cut_the_first_answer(wire: Wire) -> None:
            head = wire.read_request()
            with socket.create_connection(("127.0.0.1", urlsplit(base_url).port or 0)) as server:
                server.sendall(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                answer = b"".join(iter(partial(server.recv, 65536), b""))
            answers.append(answer.decode())
            if wire.server.opened == 1:
                wire.send(answer[: len(answer) // 2])
                wire.reset()
            else:
                wire.send(answer)

        proxy = serve(cut_the_first_answer)
        with SessionsClient(proxy.base_url, retries=2) as client:
            session_id = client.create().body["id"]
            assert [session_id in answer for answer in answers] == [True, True]
            assert client.create().body["id"] != session_id
        assert (
            there.read_now(lambda connection: connection.scalar(select(func.count()).select_from(sessions)))
            == 2
        )
