import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from click.testing import CliRunner, Result

from hl_sessions.server.application import OpenServerError, create_application
from hl_sessions.server.commands.data import db
from hl_sessions.server.commands.keys import keys
from hl_sessions.server.database import lanes
from hl_sessions.server.database.engines import SCANNERS
from hl_sessions.server.settings import ServerSettings
from tests.servers import served
from tests.waiting import PATIENCE


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "keys.sqlite3"


def run(database: Path | str, *arguments: str) -> Result:
    return CliRunner().invoke(keys, [*arguments, "--db", str(database)])


def create(database: Path | str, *arguments: str) -> str:
    result = run(database, "create", *arguments)
    assert result.exit_code == 0, result.output
    key = result.stdout.strip()
    assert re.fullmatch(r"hls_[A-Za-z0-9_-]{43}", key)
    return key


def ids(database: Path | str) -> list[str]:
    return [line.split()[0] for line in run(database, "list").output.splitlines()]


@contextmanager
def serving(database: Path, **settings: Any) -> Iterator[Callable[..., requests.Response]]:
    """Serve, and call the server with a key, or without one."""
    with (
        requests.Session() as http,
        served(database, **settings) as base_url,
    ):

        def call(method: str, path: str, key: str | None = None, **options: Any) -> requests.Response:
            headers = {} if key is None else {"X-API-KEY": key}
            return http.request(method, base_url + path, headers=headers, timeout=PATIENCE, **options)

        yield call


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline


def wait_for_status(call: Callable[[], requests.Response], status: int) -> None:
    wait_until(lambda: call().status_code == status)


def test_a_key_is_shown_once_and_only_its_hash_is_kept(database: Path) -> None:
    """The list shows no part of a key that opens anything, and no file holds the key."""
    made = [create(database, "--name", "laptop"), create(database, "--name", "ci", "--organisation", "acme")]
    listed = run(database, "list").output
    assert re.fullmatch(
        r"key_\S{24}  laptop  \(default\)  created \d{4}-\d\d-\d\d \d\d:\d\d UTC\n"
        r"key_\S{24}  ci  \(acme\)  created .* UTC\n",
        listed,
    )
    files = b"".join(path.read_bytes() for path in database.parent.iterdir())
    for key in made:
        assert key not in listed
        assert key.encode() not in files


@pytest.mark.parametrize(
    "name", ["", "  ", "two\nlines", "bell\a", "x" * 201], ids=lambda name: repr(name)[:12]
)
def test_a_name_that_would_spoil_the_list_is_refused(database: Path, name: str) -> None:
    """A name is one line of printable text."""
    for arguments in (("--name", name), ("--name", "x", "--organisation", name)):
        result = run(database, "create", *arguments)
        assert result.exit_code == 2
        assert "give one line of printable text" in result.output


def test_a_key_for_a_new_database_names_it(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is in the wrong folder sees that no server knows the key."""
    monkeypatch.chdir(database.parent)
    first = run(database.name, "create", "--name", "first")
    assert first.stderr == f"Made the database {database}\n"
    assert run(database.name, "create", "--name", "second").stderr == ""


def test_a_list_of_no_keys_tells_how_to_make_one(database: Path) -> None:
    """Not among the lines of the list, which programs read."""
    CliRunner().invoke(db, ["upgrade", "--db", str(database)])
    result = run(database, "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "There is no key yet. One is made by: hl-sessions keys create" in result.stderr


def test_a_key_of_nobody_cannot_be_revoked(database: Path) -> None:
    """The message says where to find the IDs. A key is revoked once."""
    create(database, "--name", "laptop")
    [key_id] = ids(database)
    assert run(database, "revoke", key_id).output == f"Revoked {key_id}\n"
    for unknown in (key_id, "key_x"):
        result = run(database, "revoke", unknown)
        assert result.exit_code == 1
        assert "hl-sessions keys list" in result.output
    assert ", revoked " in run(database, "list").output


def test_a_database_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    """A wrong path and a wrong URL end the command without a traceback and without a password."""
    result = run(tmp_path / "missing" / "file", "create", "--name", "x")
    assert result.exit_code == 1
    assert result.output.startswith("Error: cannot open the database ")
    result = CliRunner().invoke(keys, ["list", "--db", "mysql://me:secret@host/x"])
    assert result.exit_code == 2
    assert "secret" not in result.output


def test_running_servers_take_keys_and_lose_them_within_a_moment(database: Path) -> None:
    """The first key closes an open server, a second key works beside it, and a revoked key stops working."""
    with serving(database) as call:
        session_id = call("POST", "/sessions").json()["id"]
        first = create(database, "--name", "first")
        wait_for_status(lambda: call("POST", "/sessions"), 401)
        # Data from before the first key belongs to the default organisation.
        assert call("GET", f"/sessions/{session_id}", first).status_code == 200
        second = create(database, "--name", "second")
        wait_for_status(lambda: call("POST", "/sessions", f"Bearer {second}"), 201)
        for key_id in ids(database):
            run(database, "revoke", key_id)
        began = time.monotonic()
        wait_for_status(lambda: call("POST", "/sessions", first), 401)
        assert time.monotonic() - began < 5
        # Without any valid key the server stays closed, because it has had a key.
        assert call("POST", "/sessions", second).status_code == 401
        assert call("POST", "/sessions").status_code == 401


def test_keys_are_taken_and_lost_while_searches_take_long(
    postgresql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long searches delay neither changes of the keys nor the answer to readiness probes."""
    monkeypatch.setattr(lanes, "BUDGET", PATIENCE)
    database = postgresql.new_database()
    staying, leaving = create(database, "--name", "staying"), create(database, "--name", "leaving")
    searches = 2 * SCANNERS
    with (
        served(database) as base_url,
        ThreadPoolExecutor(searches) as threads,
        psycopg.connect(database, autocommit=True) as observer,
    ):

        def call(method: str, path: str, key: str, **options: Any) -> requests.Response:
            headers = {"X-API-KEY": key}
            return requests.request(method, base_url + path, headers=headers, timeout=60, **options)

        def blocked() -> int:
            rows = observer.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
            return 0 if rows is None else rows[0]

        project_id = call("POST", "/logs", staying, json={"project": "p"}).json()["project_id"]
        search = f"/logs?project_id={project_id}&search=x"
        # Each running search waits for the end of this block.
        with psycopg.connect(database) as locking:
            locking.execute("LOCK TABLE logs IN ACCESS EXCLUSIVE MODE")
            searching = [threads.submit(call, "GET", search, staying) for _ in range(searches)]
            wait_until(lambda: blocked() == SCANNERS)
            run(database, "revoke", ids(database)[-1])
            wait_for_status(lambda: call("POST", "/sessions", leaving), 401)
            assert call("POST", "/sessions", staying).status_code == 201
            assert requests.get(base_url.removesuffix("/v4") + "/readyz", timeout=PATIENCE).status_code == 200
            assert not any(one.done() for one in searching)
        assert {one.result().status_code for one in searching} == {200}


def test_while_the_keys_cannot_be_read_the_known_ones_stay(
    database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No reader is locked out or let in, and the log says so without a key."""
    key = create(database, "--name", "x")
    with serving(database) as call, closing(sqlite3.connect(database)) as connection:
        connection.execute("ALTER TABLE keys RENAME TO gone")
        wait_until(lambda: call("POST", "/sessions", key).status_code == 201 and bool(caplog.records))
        assert call("POST", "/sessions", key).status_code == 201
        assert call("POST", "/sessions", "wrong").status_code == 401
        connection.execute("ALTER TABLE gone RENAME TO keys")
        run(database, "revoke", *ids(database))
        wait_for_status(lambda: call("POST", "/sessions", key), 401)
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert "the known ones stay" in caplog.text
    assert key not in caplog.text


def test_the_key_of_the_command_line_goes_on_to_work_beside_others(database: Path) -> None:
    """It opens the default organisation, like keys without an organisation."""
    key = create(database, "--name", "x")
    with serving(database, api_key="given") as call:
        session_id = call("POST", "/sessions", key).json()["id"]
        assert call("GET", f"/sessions/{session_id}", "given").status_code == 200
        assert call("POST", "/sessions", "other").status_code == 401


def test_another_host_needs_a_key_of_either_kind(database: Path) -> None:
    """A server that other machines can reach does not start without a key."""
    settings = ServerSettings(host="0.0.0.0", port=0, database=str(database))
    with pytest.raises(OpenServerError, match="hl-sessions keys create"):
        create_application(settings)
    create(database, "--name", "x")
    with serving(database, host="0.0.0.0") as call:
        assert call("POST", "/sessions").status_code == 401


def test_an_organisation_sees_nothing_of_another(database: Path) -> None:
    """The IDs of others are unknown to every call, and reference IDs and names do not collide."""
    ours = create(database, "--name", "ours", "--organisation", "ours")
    theirs = create(database, "--name", "theirs", "--organisation", "theirs")
    log = {"project": "same", "session_reference_id": "same", "reference_id": "same", "output": "secret"}
    with serving(database) as call:
        our, their = (call("POST", "/logs", key, json=log).json() for key in (ours, theirs))
        assert not our.items() & their.items()
        our_team, their_team = (
            call("GET", "/projects", key).json()["records"][0]["team_id"] for key in (ours, theirs)
        )
        assert our_team != their_team

        for method, path in [
            ("GET", f"/sessions/{their['session_id']}"),
            ("GET", f"/sessions?project_id={their['project_id']}"),
            ("GET", f"/logs?project_id={their['project_id']}"),
            ("GET", f"/logs?session_id={their['session_id']}&project_id={our['project_id']}"),
            ("GET", f"/logs/{their['id']}"),
            ("PATCH", f"/logs/{their['id']}"),
            ("DELETE", f"/logs?id={our['id']}&id={their['id']}"),
            ("GET", f"/projects/{their['project_id']}"),
            ("PATCH", f"/projects/{their['project_id']}"),
            ("DELETE", f"/projects/{their['project_id']}"),
        ]:
            answer = call(method, path, ours, json={"output": "ours", "name": "ours"})
            assert answer.status_code == 404, path
            assert "was deleted, or never existed" in answer.json()["detail"], path
        for path, body in [
            ("/logs", {"project_id": their["project_id"]}),
            ("/logs", {"project": "p", "session_id": their["session_id"]}),
            ("/logs", {"project": "p", "parent_id": their["id"]}),
        ]:
            answer = call("POST", path, ours, json=body)
            assert answer.status_code == 422, body
        for subject in ({"data_id": their["id"]}, {"session_id": their["session_id"]}):
            answer = call("POST", "/feedback", ours, json={**subject, "type": "rating", "value": "bad"})
            assert answer.status_code == 404, subject
        changed = call("PATCH", "/logs?reference_id=same", ours, json={"output": "ours"}).json()
        assert changed["id"] == our["id"]
        rating = {"reference_id": "same", "type": "rating", "value": "bad"}
        assert call("POST", "/feedback", ours, json=rating).json()["data_id"] == our["id"]

        kept = call("GET", f"/logs/{their['id']}", theirs).json()
        assert (kept["output"], "feedback" in kept) == ("secret", False)
        assert "feedback" not in call("GET", f"/sessions/{their['session_id']}", theirs).json()
        assert call("GET", "/projects", theirs).json()["records"][0]["name"] == "same"
        assert call("GET", "/projects", ours).json()["total"] == 1
