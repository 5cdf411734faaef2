"""The tools of operators: health, metrics, the log, the end, several processes."""

import json
import os
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import served
from tests.waiting import PATIENCE, ends_within

KEY = "sk-of-the-operator"
DEADLINE = PATIENCE
PROBES = ["/healthz", "/readyz", "/metrics"]
DOCUMENTATION = (Path(__file__).parents[3] / "docs" / "operating.md").read_text()

Spawn = Callable[..., Any]


def root_of(base_url: str) -> str:
    return base_url.removesuffix("/v4")


def metrics_of(base_url: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the value of each series, by its name and labels."""
    answer = requests.get(f"{root_of(base_url)}/metrics", timeout=PATIENCE)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def series(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"hl_sessions_{name}", frozenset(labels.items())


def is_refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=DEADLINE).close()
    except ConnectionRefusedError:
        return True
    return False


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = monotonic() + DEADLINE
    while not is_so():
        assert monotonic() < deadline
        sleep(0.02)


def processes_of(server: Any) -> list[int]:
    """Return the first process and, where the system tells them, its children."""
    first: int = server.process.pid
    children = Path(f"/proc/{first}/task/{first}/children")
    return [first, *map(int, children.read_text().split() if children.exists() else ())]


@pytest.fixture(scope="module")
def server(spawn_for_all: Spawn, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two workers, configured by a file."""
    directory = tmp_path_factory.mktemp("operating")
    config = directory / "config.toml"
    config.write_text(f'db = "shared.sqlite3"\napi_key = "{KEY}"\nworkers = 2\nmax_body = 2000\n')
    # Killed at the end, so it leaves its files in the temporary directory.
    return spawn_for_all(
        directory, "--config", str(config), HL_SESSIONS_ACCESS_LOG="true", TMPDIR=str(directory)
    )


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as http:
        http.headers["X-API-KEY"] = KEY
        yield http


def logged(server: Any, answer: requests.Response) -> dict[str, Any]:
    """Return the line of the access log about an answer; the lines before it are dropped."""
    for text in server.process.stdout:
        line: dict[str, Any] = json.loads(text)
        if line["request_id"] == answer.headers["X-Request-ID"]:
            return line
    raise AssertionError


@pytest.mark.parametrize("path", PROBES)
def test_probes_need_no_key_but_are_not_for_foreign_pages(
    server: Any, sqlite_base_url: str, path: str
) -> None:
    """They answer without a key, while all else is 401. An open server answers only this machine."""
    assert requests.get(root_of(server.base_url) + path, timeout=PATIENCE).status_code == 200
    assert requests.get(f"{server.base_url}/projects", timeout=PATIENCE).status_code == 401
    url = root_of(sqlite_base_url) + path
    assert requests.get(url, timeout=PATIENCE).status_code == 200
    for headers in ({"Host": "example.com"}, {"Origin": "https://example.com"}):
        assert requests.get(url, headers=headers, timeout=PATIENCE).status_code == 403


def test_the_log_tells_of_a_request_without_what_it_holds(server: Any, http: requests.Session) -> None:
    """Each line has the request, the key and the session by their IDs, but no payloads, keys or searches."""
    created = http.post(
        f"{server.base_url}/sessions", headers={"X-Request-ID": "from.the/proxy-1"}, timeout=PATIENCE
    )
    assert created.headers["X-Request-ID"] == "from.the/proxy-1"
    line = logged(server, created)
    assert set(line) == {
        *("time", "method", "path", "status", "duration", "bytes", "request_id", "session_id", "key_id"),
        "process",
    }
    assert datetime.now(timezone.utc) - datetime.fromisoformat(line["time"]) < timedelta(minutes=1)
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v4/sessions", 201)
    assert line["bytes"] == len(created.content)
    assert 0 < line["duration"] < DEADLINE
    assert line["session_id"] == created.json()["id"]
    assert line["key_id"] == "key_configured"

    secrets = ["PAYLOAD", "SEARCH", "PROVIDER", KEY, "WRONG"]
    log: dict[str, Any] = {
        "project": "PAYLOAD",
        "output": "PAYLOAD",
        "provider_api_keys": {"openai": "PROVIDER"},
    }
    answers = [
        http.post(
            f"{server.base_url}/logs", json={**log, "session_id": line["session_id"]}, timeout=PATIENCE
        ),
        http.get(f"{server.base_url}/sessions/{line['session_id']}", timeout=PATIENCE),
        http.post(f"{server.base_url}/logs", json={"project": ["PAYLOAD"]}, timeout=PATIENCE),
        http.post(f"{server.base_url}/logs", data="PAYLOAD" * 1000, timeout=PATIENCE),
        http.get(f"{server.base_url}/logs?project_id=pr_x&search=SEARCH", timeout=PATIENCE),
        http.get(f"{server.base_url}/projects", headers={"X-API-KEY": "WRONG"}, timeout=PATIENCE),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 422, 413, 404, 401]
    lines = [logged(server, answer) for answer in answers]
    assert [told["status"] for told in lines] == [200, 200, 422, 413, 404, 401]
    assert [told.get("session_id") for told in lines] == [line["session_id"]] * 2 + [None] * 4
    assert [told.get("key_id") for told in lines] == ["key_configured"] * 5 + [None]
    assert not [secret for secret in secrets if secret in json.dumps(lines)]


def test_the_log_tells_what_a_reader_of_the_page_has_deleted(server: Any, http: requests.Session) -> None:
    """The numbers of records, and the key."""
    log = {"project": "deleted", "session_reference_id": "deleted"}
    session_id = http.post(f"{server.base_url}/logs", json=[log] * 3, timeout=PATIENCE).json()[0][
        "session_id"
    ]
    page = root_of(server.base_url)
    http.headers["Origin"] = page
    http.post(f"{page}/sign-in", data={"key": KEY}, timeout=PATIENCE)
    deleted = http.post(
        f"{page}/sessions/delete/confirmed",
        data={"session": session_id},
        timeout=PATIENCE,
        allow_redirects=False,
    )
    line = logged(server, deleted)
    assert line["path"] == "/sessions/delete/confirmed"
    assert (line["deleted_sessions"], line["deleted_datapoints"]) == (1, 3)
    assert line["key_id"] == "key_configured"
    assert "deleted_sessions" not in logged(server, http.get(f"{page}/", timeout=PATIENCE))


@pytest.mark.parametrize(
    "given",
    ["", "x" * 129, 'a"b', "a b", "<script>", "é"],
    ids=["empty", "long", "quote", "space", "tag", "accent"],
)
def test_an_unsafe_request_id_is_replaced(server: Any, http: requests.Session, given: str) -> None:
    """An ID with characters that mean something in a log or a header is not used."""
    headers = {"X-Request-ID": given.encode("latin-1")}
    answer = http.get(f"{root_of(server.base_url)}/healthz", headers=headers, timeout=PATIENCE)
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])
    assert logged(server, answer)["path"] == "/healthz"


@pytest.mark.slow
def test_workers_count_together_and_are_replaced(server: Any) -> None:
    """Killed until a replacement answers. One scrape has the sum of the counts of all of them."""

    def create(times: int) -> int:
        """Create sessions on connections of their own, and return the process that has answered the last."""
        for _ in range(times):
            answer = requests.post(
                f"{server.base_url}/sessions", headers={"X-API-KEY": KEY}, timeout=DEADLINE
            )
            assert answer.status_code == 201
        process: int = logged(server, answer)["process"]
        return process

    def count() -> float:
        created = series("http_requests_total", method="POST", route="/v4/sessions", status="201")
        return metrics_of(server.base_url).get(created, 0)

    before = count()
    process, answered = create(3), 3
    replacements: set[int] = set()
    while process not in replacements:
        os.kill(process, signal.SIGKILL)
        told = re.fullmatch(
            rf"worker {process} has ended with exit code -9; worker (\d+) takes its place\n",
            server.process.stderr.readline(),
        )
        assert told is not None
        replacements.add(int(told[1]))
        process = create(1)
        answered += 1
    assert count() - before == answered
    assert metrics_of(server.base_url)[series("http_requests_in_flight")] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_key_reaches_workers_unseen(server: Any) -> None:
    """Neither the command line nor the environment of any process shows the key of the file."""
    eventually(lambda: len(processes_of(server)) >= 3)
    for process in processes_of(server):
        for name in ("cmdline", "environ"):
            assert KEY.encode() not in Path(f"/proc/{process}/{name}").read_bytes()


def test_metrics_are_few_and_tell_nothing_of_requests(sqlite_base_url: str, unique: str) -> None:
    """IDs, unknown paths and made-up methods are no labels. Each metric is documented."""
    root = root_of(sqlite_base_url)
    for method, path in [
        ("GET", f"/v4/sessions/sesh_{unique}"),
        ("GET", f"/sessions/sesh_{unique}"),
        ("GET", f"/{unique}"),
        ("GET", f"/v4/{unique}"),
        ("GET", f"/static/{unique}"),
        (unique.upper(), "/v4/sessions"),
    ]:
        assert requests.request(method, root + path, timeout=PATIENCE).status_code == 404
    created = requests.post(f"{root}/v4/logs", json={"project": unique}, timeout=PATIENCE)
    assert created.status_code == 200
    metrics = metrics_of(sqlite_base_url)
    assert unique not in str(metrics).lower()
    routes = {labels["route"] for _, given in metrics if "route" in (labels := dict(given))}
    assert {"/v4/sessions/{session_id}", "/sessions/{session_id}", "/v4/logs", "none"} <= routes
    assert metrics[series("http_requests_total", method="other", route="/v4/{path}", status="404")] >= 1
    assert metrics[series("http_request_duration_seconds_count", method="POST", route="/v4/logs")] >= 1
    assert metrics[series("database_writes_per_commit_count")] >= 1
    families = requests.get(f"{root}/metrics", timeout=PATIENCE).text
    names = set(re.findall(r"^# TYPE (\w+) (?:counter|histogram)$", families, re.MULTILINE))
    assert len(names) == 7
    assert {name for name in names if f"`{name}`" not in DOCUMENTATION} == set()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("key", [KEY, None], ids=["with a key", "open"])
def test_metrics_have_a_port_of_their_own_if_asked(
    tmp_path: Path, spawn: Spawn, workers: str, key: str | None
) -> None:
    """Nothing else is there, and they are nowhere else. An open server keeps foreign pages out."""
    arguments = ["--metrics-port", "0", "--workers", workers, *([] if key is None else ["--api-key", key])]
    server = spawn(tmp_path, *arguments)
    greeting = server.process.stdout.readline()
    assert re.fullmatch(r"Metrics on http://127\.0\.0\.1:\d+/metrics\n", greeting)
    metrics_url = greeting.split()[-1]
    headers = {"X-API-KEY": KEY}
    for _ in range(5):
        created = requests.post(f"{server.base_url}/sessions", headers=headers, timeout=PATIENCE)
        assert created.status_code == 201
    counted = series("http_requests_total", method="POST", route="/v4/sessions", status="201")
    # An answer is counted after it was sent.
    eventually(lambda: metrics_of(metrics_url.removesuffix("/metrics")).get(counted) == 5)
    answer = requests.get(f"{root_of(server.base_url)}/metrics", allow_redirects=False, timeout=PATIENCE)
    assert answer.status_code == (404 if key is None else 303)
    for path in ("/", "/healthz", "/v4/projects", "/static/page.js"):
        url = metrics_url.replace("/metrics", path)
        assert requests.get(url, headers=headers, timeout=PATIENCE).status_code == 404
    foreign = requests.get(metrics_url, headers={"Host": "evil.example"}, timeout=PATIENCE)
    assert foreign.status_code == (403 if key is None else 200)
    server.process.terminate()
    assert server.process.communicate(timeout=PATIENCE) == ("", "")
    assert server.process.returncode == 0


def test_a_database_that_fails_is_told(tmp_path: Path, http: requests.Session) -> None:
    """A 500 has the ID of its request, errors are counted, and the process lives without being ready."""
    database = tmp_path / "failing.sqlite3"
    with served(database, api_key=KEY) as base_url:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("ALTER TABLE organisations RENAME TO gone")
        answer = http.get(f"{base_url}/projects", timeout=PATIENCE)
        assert requests.get(f"{root_of(base_url)}/readyz", timeout=PATIENCE).status_code == 503
        assert requests.get(f"{root_of(base_url)}/healthz", timeout=PATIENCE).status_code == 200
        assert answer.status_code == 500
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])
        assert metrics_of(base_url)[series("database_errors_total", reason="unexpected")] >= 2


def test_a_file_that_was_removed_makes_the_server_unready(tmp_path: Path) -> None:
    """Writes would be lost with the file. The same is true if another file is in its place."""
    database = tmp_path / "removed.sqlite3"
    with served(database) as base_url:
        ready = f"{root_of(base_url)}/readyz"
        assert requests.get(ready, timeout=PATIENCE).json() == {"status": "ready"}
        database.rename(tmp_path / "moved.sqlite3")
        for _ in range(2):
            answer = requests.get(ready, timeout=PATIENCE)
            assert answer.status_code == 503
            assert "was moved, removed or replaced" in answer.json()["detail"]
            database.touch()
        (tmp_path / "moved.sqlite3").rename(database)
        assert requests.get(ready, timeout=PATIENCE).status_code == 200


def test_a_database_that_is_silent_makes_the_server_unready(postgresql: Any) -> None:
    """Within a moment, while the process stays alive. When the database answers again, it is ready."""
    database = postgresql.new_database()
    with served(database) as base_url:
        ready, alive = (f"{root_of(base_url)}{path}" for path in ("/readyz", "/healthz"))
        eventually(lambda: requests.get(ready, timeout=PATIENCE).json() == {"status": "ready"})
        with psycopg.connect(database) as connection:
            connection.execute("LOCK TABLE organisations IN ACCESS EXCLUSIVE MODE")
            with ends_within(1):
                assert requests.get(ready, timeout=PATIENCE).status_code == 503
            assert requests.get(alive, timeout=PATIENCE).status_code == 200
        eventually(lambda: requests.get(ready, timeout=PATIENCE).status_code == 200)


@pytest.mark.parametrize(
    ("workers", "number"), [("1", signal.SIGTERM), pytest.param("2", signal.SIGINT, marks=pytest.mark.slow)]
)
def test_what_was_taken_is_answered_before_the_end(
    tmp_path: Path, spawn: Spawn, workers: str, number: signal.Signals
) -> None:
    """Told to end while requests wait for the database, it answers them and no others, and exits with 0."""
    server = spawn(tmp_path, "--db", "shared.sqlite3", "--workers", workers)
    in_flight = series("http_requests_in_flight")
    address = ("127.0.0.1", int(server.base_url.split(":")[-1].removesuffix("/v4")))

    assert requests.get(f"{server.base_url}/projects", timeout=PATIENCE).status_code == 200
    with (
        closing(sqlite3.connect(tmp_path / "shared.sqlite3", isolation_level=None)) as other,
        ThreadPoolExecutor(4) as threads,
    ):
        other.execute("BEGIN IMMEDIATE")
        answers = [
            threads.submit(requests.post, f"{server.base_url}/sessions", timeout=DEADLINE) for _ in range(4)
        ]
        eventually(lambda: metrics_of(server.base_url)[in_flight] == 1 + len(answers))
        # A terminal sends Ctrl-C to all of them.
        for process in processes_of(server):
            os.kill(process, number)
        eventually(lambda: is_refused(address))
        other.execute("ROLLBACK")
        created = [answer.result() for answer in answers]
        output, errors = server.process.communicate(timeout=DEADLINE)
        kept = {identifier for (identifier,) in other.execute("SELECT id FROM sessions")}
    assert [answer.status_code for answer in created] == [201] * 4
    assert {answer.json()["id"] for answer in created} <= kept
    assert (output, errors, server.process.returncode) == ("", "", 0)


@pytest.mark.slow
def test_who_insists_does_not_wait_for_what_runs_in_the_background(tmp_path: Path, spawn: Spawn) -> None:
    """A second Ctrl-C ends the process at once, even during deletions and indexing."""
    server = spawn(tmp_path, "--keep", "90d")
    address = ("127.0.0.1", int(server.base_url.split(":")[-1].removesuffix("/v4")))
    with closing(socket.create_connection(address, timeout=DEADLINE)) as half_sent:
        half_sent.sendall(b"POST /v4/sessions HTTP/1.1\r\nHost: localhost\r\n")
        assert requests.get(f"{root_of(server.base_url)}/healthz", timeout=DEADLINE).status_code == 200
        server.process.send_signal(signal.SIGINT)

        eventually(lambda: is_refused(address))
        server.process.send_signal(signal.SIGINT)
        server.process.wait(timeout=DEADLINE)
