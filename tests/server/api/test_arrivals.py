"""Datapoints in the order of their arrival: none is missed, and none comes twice."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
import requests

from hl_sessions.server.database import postgresql as postgresql_module
from hl_sessions.server.database import retrying
from hl_sessions.server.database.database import Database
from hl_sessions.server.records import arrivals as arrivals_module
from hl_sessions.server.records.keys import create_key
from hl_sessions.server.settings import ServerSettings
from tests.server.conftest import Client
from tests.servers import served
from tests.waiting import PATIENCE, wait_until


def arrivals(client: Client, after: str, **parameters: Any) -> tuple[list[str], str]:
    """Return the IDs of the datapoints that have arrived, and the next place."""
    ids: list[str] = []
    while True:
        answer = client.ok("GET", "/arrivals", params={"after": after, **parameters})
        ids += [log["id"] for log in answer["records"]]
        after = answer["next"]
        if not answer["records"]:
            return ids, after


def test_what_arrives_is_listed_in_its_order(client: Client, unique: str) -> None:
    """In pages from any place, for any times of the datapoints."""
    client.log(project=unique)
    begin = client.ok("GET", "/arrivals")
    assert begin["records"] == []
    times = ["2025-01-02T00:00:00Z", "2025-01-01T00:00:00Z", "2030-01-01T00:00:00Z"]
    logs = [{"project": unique, "created_at": time} for time in times]
    created = [log["id"] for log in client.ok("POST", "/logs", json=logs)]
    assert arrivals(client, begin["next"], size=2, project=unique) == (created, created[-1])
    [first] = client.ok("GET", "/arrivals", params={"after": begin["next"], "size": 1})["records"]
    assert first == client.ok("GET", f"/logs/{created[0]}")
    client.ok("PATCH", f"/logs/{created[0]}", json={"output": "done"})
    assert arrivals(client, created[-1], project=unique) == ([], created[-1])


def test_those_of_a_project_and_of_a_session(client: Client, unique: str) -> None:
    """A project is named, even one that does not exist yet."""
    after = client.log(project=f"{unique} 1")["id"]
    assert arrivals(client, after, project=unique)[0] == []
    first = client.log(project=unique, session_reference_id=unique)
    second = client.log(project=f"{unique} 1", session_id=first["session_id"])
    third = client.log(project=unique)
    assert arrivals(client, after, project=unique) == ([first["id"], third["id"]], third["id"])
    assert arrivals(client, after, session_id=first["session_id"])[0] == [first["id"], second["id"]]
    assert arrivals(client, after, session_id=first["session_id"], project=unique)[0] == [first["id"]]


def test_open_datapoints_come_again_when_they_have_ended(client: Client, unique: str) -> None:
    """Before those that have arrived, and beyond their number."""
    ids = [client.log(project=unique)["id"] for _ in range(4)]
    asked = {"after": ids[-1], "size": 1, "open": [*reversed(ids), ids[0]]}
    assert client.ok("GET", "/arrivals", params=asked) == {"next": ids[-1], "records": []}
    for log_id, end in zip(ids, ({"output": ""}, {"error": "late"}, {"duration": 0}), strict=False):
        client.ok("PATCH", f"/logs/{log_id}", json=end)
    arrived = client.log(project=unique)["id"]
    answer = client.ok("GET", "/arrivals", params=asked)
    assert answer["next"] == arrived
    assert answer["records"] == [client.ok("GET", f"/logs/{log_id}") for log_id in (*ids[:3], arrived)]
    asked["after"] = ids[0]
    assert [log["id"] for log in client.ok("GET", "/arrivals", params=asked)["records"]] == ids[:3]


def test_a_place_that_is_gone_is_not_found(
    client: Client, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier place still works."""
    # Otherwise PostgreSQL waits for the missing number.
    monkeypatch.setattr(arrivals_module, "_SETTLED", timedelta(0))
    first, second, third = (client.log(project=unique)["id"] for _ in range(3))
    assert client("DELETE", "/logs", params={"id": second}).ok
    assert client("GET", "/arrivals", params={"after": second}).status_code == 404
    assert arrivals(client, first, project=unique) == ([third], third)
    for name, value in (("after", "x"), ("session_id", "x"), ("size", "101"), ("open", [first] * 101)):
        assert client("GET", "/arrivals", params={name: value}).status_code == 422


def test_an_organisation_gets_its_own_only(database: str) -> None:
    """No place names a datapoint of another organisation; the list begins with its own first one."""
    there = Database.open(ServerSettings(database=database).database_url)
    keys = [there.write_now(partial(create_key, name=name, organisation=name)) for name in "ab"]
    there.close()
    with served(database) as base_url, ExitStack() as running:
        ours, others = (Client(base_url, running.enter_context(requests.Session())) for _ in keys)
        for client, key in zip((ours, others), keys, strict=True):
            client.http.headers["X-API-KEY"] = key
        begin = ours.ok("GET", "/arrivals")["next"]
        assert begin == others.ok("GET", "/arrivals")["next"] == "start"
        theirs = others.ok("POST", "/logs", json=[{"project": "p"}] * 3)
        for _ in range(2):
            assert arrivals(ours, begin) == ([], begin)
        mine = ours.log(project="p")["id"]
        assert arrivals(ours, begin) == ([mine], mine)
        assert arrivals(others, begin)[0] == [log["id"] for log in theirs]
        assert ours("GET", "/arrivals", params={"after": theirs[0]["id"]}).status_code == 404
        others.ok("PATCH", f"/logs/{theirs[0]['id']}", json={"output": "theirs"})
        assert arrivals(ours, mine, open=[theirs[0]["id"]]) == ([], mine)


def test_what_is_numbered_first_and_stored_later_is_not_missed(
    postgresql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later of two transactions on PostgreSQL may end first: its datapoint waits for the other's."""
    monkeypatch.setattr(retrying, "PATIENCE", PATIENCE)
    monkeypatch.setattr(postgresql_module, "_STOPPED_WRITER", int(1000 * PATIENCE))
    database = postgresql.new_database()
    with ExitStack() as running, ThreadPoolExecutor(1) as threads:
        slow, quick = (Client(running.enter_context(served(database))) for _ in range(2))
        blocked, free = (slow.log(project=name) for name in ("blocked", "free"))
        watching = running.enter_context(psycopg.connect(database, autocommit=True))

        def is_waiting() -> bool:
            others = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            return watching.execute(f"SELECT count(*) FROM {others}").fetchone() == (1,)

        with psycopg.connect(database) as holding:
            holding.execute("SELECT 1 FROM projects WHERE id = %s FOR NO KEY UPDATE", [blocked["project_id"]])
            writing = threads.submit(slow.log, project="blocked")
            wait_until(is_waiting)
            later = quick.log(project="free")
            assert arrivals(quick, free["id"]) == ([], free["id"])
        earlier = writing.result()
        assert arrivals(quick, free["id"])[0] == [earlier["id"], later["id"]]
        # A number that no datapoint gets is waited for only for a while.
        watching.execute("SELECT nextval(pg_get_serial_sequence('logs', 'sequence'))")
        last = quick.log(project="free")
        assert arrivals(quick, later["id"])[0] == []
        watching.execute("UPDATE logs SET updated_at = updated_at - interval '1 minute'")
        assert arrivals(quick, later["id"])[0] == [last["id"]]


def test_those_who_read_while_others_write_get_all(database: str) -> None:
    """Several servers write at once, and a reader gets each datapoint once."""
    with ExitStack() as running, ThreadPoolExecutor(4) as threads:
        clients = [Client(running.enter_context(served(database))) for _ in range(2)]
        begin = clients[0].log(project="p")["id"]
        is_done = threading.Event()

        def write(number: int) -> list[str]:
            client = Client(clients[number % 2].base_url)
            return [
                log["id"]
                for _ in range(20)
                for log in client.ok("POST", "/logs", json=[{"project": "p"}] * 3)
            ]

        def read(number: int) -> list[str]:
            found: list[str] = []
            after = begin
            while not is_done.is_set():
                some, after = arrivals(Client(clients[number].base_url), after)
                found += some
            return found

        reading = threads.submit(read, 0)
        written = {log_id for ids in threads.map(write, range(3)) for log_id in ids}
        wait_until(lambda: len(arrivals(clients[1], begin)[0]) == len(written))
        is_done.set()
        found = reading.result()
        assert len(found) == len(set(found))
        assert set(found) <= written
