import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hl_sessions.demo import command
from hl_sessions.server.database.database import Database
from hl_sessions.server.records.keys import create_key
from hl_sessions.server.settings import ServerSettings
from tests.waiting import wait_until

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a demo that ends by itself."""
    # Changes of the environment by the command end with the test.
    monkeypatch.setenv("no_proxy", "*")
    return lambda *arguments: CliRunner().invoke(command.demo, arguments)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)],
    ids=lambda number: number.name,
)
def test_the_demo_ends_at_once_when_told_to(start_demo: Any, number: signal.Signals) -> None:
    """Even in the middle of a reply, which is finished, it leaves no word, process or file behind."""
    demo = start_demo("--port", "0", "--api-port", "0")
    with demo.ask("When is a session created?") as response:
        chunks = response.iter_content(chunk_size=None)
        first = next(chunks)
        assert list(demo.temporary.iterdir())
        began = time.monotonic()
        output = demo.end(number)
        seconds = time.monotonic() - began
        reply = b"".join([first, *chunks])
    assert (demo.process.returncode, output) == (0, ("", ""))
    assert seconds < 30  # on a busy machine
    assert reply.endswith(b"(Source: Lazy creation)")
    assert list(demo.temporary.iterdir()) == []


@pytest.mark.parametrize(("option", "other"), [("--port", "--api-port"), ("--api-port", "--port")])
def test_a_taken_port_is_one_clear_line(run: Run, option: str, other: str) -> None:
    """The command exits with 1 and names the port and the option."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run(option, port, other, "0")
    assert result.exit_code == 1
    assert result.output == f"Error: port {port} is taken; choose another with {option}\n"


@pytest.mark.slow
def test_two_demos_run_side_by_side(start_demo: Any) -> None:
    """The second one says that it takes free ports, and knows nothing of the sessions of the first."""
    demos = [start_demo(), start_demo()]
    assert len({url for demo in demos for url in (demo.url, demo.api_url)}) == 4
    for demo in demos:
        with demo.ask("hello") as response:
            assert response.ok
    wait_until(lambda: [len(demo.sessions()) for demo in demos] == [1, 1])
    assert demos[0].sessions() != demos[1].sessions()
    _, said = demos[1].end()
    assert said == (
        "Port 8643 is taken, so a free one is used (--port chooses).\n"
        "Port 8642 is taken, so a free one is used (--api-port chooses).\n"
    )
    demos[0].end()


@pytest.mark.slow
def test_a_file_keeps_the_sessions(run: Run, start_demo: Any, tmp_path: Path) -> None:
    """The next demo with the same --db lists the sessions of the one before."""
    database = str(tmp_path / "demo.sqlite3")
    made = re.findall("-> (sesh_.*)", run("--script", "--db", database).output)
    assert len(made) == 4
    demo = start_demo("--port", "0", "--api-port", "0", "--db", database)
    assert [session["id"] for session in demo.sessions()] == made[::-1]


def test_a_file_that_is_no_database_is_one_clear_line(run: Run, tmp_path: Path) -> None:
    """The command exits with 1 and names the file."""
    path = tmp_path / "notes.txt"
    path.write_text("this is not a database at all, but it is long enough", encoding="utf-8")
    result = run("--script", "--db", str(path))
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: cannot open the database {path}: ")
    assert result.output.count("\n") == 1


def test_a_database_with_keys_is_one_clear_line(run: Run, tmp_path: Path) -> None:
    """The demo has none of the keys, and says what to do."""
    path = tmp_path / "keys.sqlite3"
    database = Database.open(ServerSettings(database=str(path)).database_url)
    database.write_now(lambda connection: create_key(connection, "name", "organisation"))
    database.close()
    result = run("--script", "--db", str(path))
    assert result.exit_code == 1
    assert result.output == (
        f"Error: the database {path} has keys, so the demo is not let in; give it another one with --db\n"
    )
