import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result

from hl_sessions.server.commands.database_option import url_of
from hl_sessions.server.commands.serve import serve
from hl_sessions.server.database.place import place_of
from tests.servers import opened_database, served
from tests.waiting import PATIENCE

KEY = "sk-of-the-server"
RunningServer = Callable[..., Any]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(serve, arguments)


def test_serve_says_where_it_listens_and_keeps_its_file_beside_it(
    tmp_path: Path, spawn: RunningServer
) -> None:
    """It picks a free port, and prints it, the page, and the database: a file of the current directory."""
    server = spawn(tmp_path)
    told = re.fullmatch(r"Listening on (http://127\.0\.0\.1:\d+/)v4\n", server.greeting)
    assert told is not None
    database = tmp_path / "hl-sessions.sqlite3"
    assert server.greeting_of_page == f"Page on {told[1]} of the database {database}\n"
    assert requests.post(f"{server.base_url}/sessions", timeout=PATIENCE).status_code == 201
    assert "sesh_" in requests.get(server.page_url, timeout=PATIENCE).text
    assert database.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_serve_ends_when_told_to(tmp_path: Path, spawn: RunningServer, number: signal.Signals) -> None:
    """Even with a connected client it ends, without a traceback, and leaves one file."""
    server = spawn(tmp_path)
    with requests.Session() as http:
        http.post(f"{server.base_url}/sessions", timeout=PATIENCE)
        server.process.send_signal(number)
        output, errors = server.process.communicate(timeout=PATIENCE)
    assert (output, errors) == ("", "")
    assert server.process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["hl-sessions.sqlite3"]


@pytest.mark.slow
def test_serve_may_be_told_to_end_at_once(tmp_path: Path, spawn: RunningServer) -> None:
    """After its greeting it ends in order, even if it has not begun to serve."""
    server = spawn(tmp_path)
    server.process.terminate()
    output, errors = server.process.communicate(timeout=PATIENCE)
    assert (output, errors, server.process.returncode) == ("", "", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["hl-sessions.sqlite3"]


@pytest.mark.parametrize("way", ["option", pytest.param("variable", marks=pytest.mark.slow)])
def test_serve_takes_a_key_and_never_prints_it(tmp_path: Path, spawn: RunningServer, way: str) -> None:
    """The key comes from the option or the environment, and shows up in no output.

    A browser gets an address that it understands, below the path of the proxy.
    """
    if way == "option":
        server = spawn(tmp_path, "--api-key", KEY, "--host", "0.0.0.0", "--root-path", "/a/")
        assert re.fullmatch(r"http://localhost:\d+/a/", server.page_url)
        page = server.page_url.replace("localhost", "127.0.0.1")
        assert "Sign in" in requests.get(page, timeout=PATIENCE).text
    else:
        server = spawn(tmp_path, "--host", "0.0.0.0", HL_SESSIONS_API_KEY=KEY)
    url = f"{server.base_url}/sessions".replace("0.0.0.0", "127.0.0.1")
    assert requests.post(url, timeout=PATIENCE).status_code == 401
    assert requests.post(url, headers={"X-API-KEY": KEY}, timeout=PATIENCE).status_code == 201
    server.process.terminate()
    output, errors = server.process.communicate(timeout=PATIENCE)
    assert KEY not in server.greeting + server.greeting_of_page + output + errors


def test_serve_listens_on_ipv6(tmp_path: Path, spawn: RunningServer) -> None:
    """The printed URLs have the address in brackets."""
    server = spawn(tmp_path, "--host", "::1")
    assert server.base_url.startswith("http://[::1]:")
    assert server.page_url == server.base_url.removesuffix("v4")
    assert requests.post(f"{server.base_url}/sessions", timeout=PATIENCE).status_code == 201


@pytest.mark.slow
def test_every_address_is_one_of_ipv4_too(tmp_path: Path, spawn: RunningServer) -> None:
    """A server on ``::`` is reached by both."""
    server = spawn(tmp_path, "--host", "::", "--api-key", KEY)
    port = server.base_url.split(":")[-1]
    assert server.page_url == f"http://localhost:{port.removesuffix('v4')}"
    for host in ("127.0.0.1", "[::1]"):
        answer = requests.post(f"http://{host}:{port}/sessions", headers={"X-API-KEY": KEY}, timeout=PATIENCE)
        assert answer.status_code == 201


@pytest.mark.parametrize(
    ("database", "place"),
    [
        ("sqlite:///file:x?mode=ro&uri=true", "file:x"),
        ("postgresql://secret:secret@db.example:5433/x?password=secret", "x on db.example"),
        ("postgresql://secret@/x?host=a&host=b", "x on a,b"),
        ("postgresql:///?dbname=x&user=secret", "x"),
        ("postgresql://", "PostgreSQL"),
    ],
)
def test_a_database_is_told_without_its_users(database: str, place: str) -> None:
    """Options of a URL may name them, too."""
    pytest.importorskip("psycopg")
    assert place_of(url_of(database)) == place


def test_postgres_is_postgresql(postgresql: Any) -> None:
    """Some platforms use such URLs for their databases."""
    url = postgresql.new_database().replace("postgresql://", "postgres://") + "&prepare_threshold=0"
    with served(url) as base_url:
        assert requests.post(f"{base_url}/sessions", timeout=PATIENCE).status_code == 201


def test_a_database_that_is_read_only_is_one_clear_line(tmp_path: Path) -> None:
    """A server on it would start, and answer each write with 500."""
    path = tmp_path / "read-only.sqlite3"
    with opened_database(path):
        pass
    result = run("--port", "0", "--db", f"sqlite:///file:{path}?mode=ro&uri=true")
    assert result.exit_code == 1
    assert result.output == (
        f"Error: cannot write to the database file:{path}: attempt to write a readonly database\n"
    )


def test_the_version_can_be_asked_for() -> None:
    """It is that of the package, also without the extra."""
    code = "import sys; sys.modules['click'] = None; from hl_sessions.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert result.stdout == f"hl-sessions, version {version('hl-sessions')}\n"


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    """The command exits with 1, and has made no database."""
    database = tmp_path / "database"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("--port", port, "--db", str(database))
    assert result.exit_code == 1
    assert result.output == f"Error: port {port} of 127.0.0.1 is taken; choose another with --port\n"
    assert not database.exists()


def test_a_taken_port_for_metrics_is_one_clear_line(tmp_path: Path) -> None:
    """It names the option of that port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("--port", "0", "--metrics-port", port, "--db", str(tmp_path / "database"))
    assert result.exit_code == 1
    assert result.output == f"Error: port {port} of 127.0.0.1 is taken; choose another with --metrics-port\n"


def test_a_host_of_another_machine_is_one_clear_line() -> None:
    """An address that this machine does not have causes no traceback."""
    result = run("--host", "192.0.2.1", "--port", "0", "--api-key", KEY)
    assert result.exit_code == 1
    assert result.output.startswith("Error: cannot listen on port 0 of 192.0.2.1: ")


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (
            ["--host", "0.0.0.0"],
            {},
            "without an API key the server listens on loopback only, not on '0.0.0.0'",
        ),
        (["--host", "::"], {}, "without an API key the server listens on loopback only, not on '::'"),
        (["--api-key", ""], {}, "the API key is empty"),
        ([], {"HL_SESSIONS_API_KEY": ""}, "the API key is empty"),
        ([], {"HL_SESSIONS_API_KEY": f"{KEY}\n"}, "the API key may hold printable ASCII characters only"),
        (["--host", "::", "--api-key", KEY[1:]], {}, "the API key has 15 characters; where other machines"),
        (["--db", "mysql://me:secret@db/x"], {}, "a postgresql:// URL, not 'mysql'"),
        (["--db", "sqlite://"], {}, "the database has to be a file"),
        (["--db", ":memory:"], {}, "the database has to be a file"),
        (["--db", "sqlite:///file::memory:?uri=true"], {}, "the database has to be a file"),
        (["--db", "sqlite:///file:x?mode=memory&uri=true"], {}, "the database has to be a file"),
        (["--db", "://secret"], {}, "the database URL cannot be parsed"),
        (["--db", "postgresql://me:my@host:secret@db/x"], {}, "in a password, @ is written %40"),
        (["--db", "postgresql://me:my@secret@db/x"], {}, "in a password, @ is written %40"),
        (["--db", "postgresql://db/x?row_factory=secret"], {}, "the option 'row_factory', which libpq"),
        (["--db", "postgresql://db/x?sslmode=a&sslmode=b"], {}, "the option 'sslmode' more than once"),
        (["--db", "postgresql://db/x?port=secret"], {}, "a port that is no number"),
        (["--port", "65536"], {}, "65536 is not in the range"),
        (["--max-body", "0"], {}, "0 is not in the range"),
        (["--root-path", "sessions"], {}, "the root path begins with '/'"),
        (["--root-path", "//evil.example"], {}, "the root path begins with '/'"),
        (["--root-path", "/v4"], {}, "the root path cannot begin with '/v4', where the API does"),
        (["--root-path", "/sessions"], {}, "without an API key nothing is served to a proxy"),
    ],
    ids=str,
)
def test_wrong_settings_are_usage_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    variables: dict[str, str],
    message: str,
) -> None:
    """The command exits with 2 and says what is wrong, without any secret in it, and has made no database."""
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = run("--port", "0", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert KEY not in result.output
    assert "secret" not in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", "it is a folder, and has to be a file"),
        ("missing/file", "there is no folder {}/missing"),
        ("text", "file is not a database"),
        ("text/file", "there is no folder {}/text"),
    ],
)
def test_a_database_that_cannot_be_opened_is_one_clear_line(tmp_path: Path, name: str, reason: str) -> None:
    """It ends the command with 1."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_bytes(b"this is not a database at all, but it is long enough")
    path = tmp_path / name
    result = run("--port", "0", "--db", str(path))
    assert result.exit_code == 1
    assert result.output == f"Error: cannot open the database {path}: {reason.format(tmp_path)}\n"


@pytest.mark.parametrize("place", ["me:hidden@127.0.0.1:1/x", "me@127.0.0.1:1/x?password=hidden"])
def test_a_database_that_does_not_answer_is_told_without_its_password(place: str) -> None:
    """The message has the URL, so that a mistake is visible, but never the password."""
    result = run("--port", "0", "--db", f"postgresql://{place}")
    assert result.exit_code == 1
    assert "127.0.0.1:1/x: connection failed" in result.output
    assert "hidden" not in result.output


@pytest.mark.parametrize(
    "module",
    ["click", *(pytest.param(each, marks=pytest.mark.slow) for each in ("uvicorn", "fastapi", "sqlalchemy"))],
)
def test_without_the_extra_the_command_names_it(module: str) -> None:
    """For any missing package, the message says what to install."""
    code = f"import sys; sys.modules[{module!r}] = None; from hl_sessions.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "all commands except 'doctor' need: pip install 'hl-sessions[server]'" in result.stderr
