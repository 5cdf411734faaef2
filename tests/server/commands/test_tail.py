"""``hl-sessions tail`` prints datapoints as they arrive, even across restarts of the server."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hl_sessions.server.commands.tail import tail
from tests.server.conftest import Client
from tests.servers import free_port, served, spawning
from tests.sessions_api import Answer, SessionsAPI
from tests.waiting import PATIENCE

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the command, and waits until it watches the server."""
    with spawning("tail") as spawn:

        def start(base_url: str, *arguments: str) -> subprocess.Popen[str]:
            process = spawn("--url", base_url, *arguments)
            assert next_error(process) == f"Watching {base_url}\n"
            return process

        yield start


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def next_error(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Press Ctrl-C, and return the exit code and the output since then."""
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, output + errors


@pytest.mark.slow
def test_datapoints_are_printed_as_they_come_in(database: str, start: Start) -> None:
    """A line for each, without characters that a terminal acts on. An open one has another line at its end.

    Ctrl-C ends the command without a message.
    """
    with served(database) as base_url:
        client = Client(base_url)
        client.log(project="p", output="before")
        process = start(base_url)
        answer = {"project": "p", "source": "answer", "duration": 0.456, "created_at": "2025-01-02T03:04:05Z"}
        created = client.log(**answer, session_reference_id="s", output="Because\x1b[31m\nof " + "x" * 500)
        client.log(project="p", error="no answer")
        beginning = f"2025-01-02 03:04:05  p  {created['session_id']}  answer  0.46 s  Because [31m of xxx"
        line = next_line(process)
        assert line.startswith(beginning)
        assert line.endswith("xxx...\n")
        assert next_line(process).endswith("  p  -  -  -  error: no answer\n")
        opened = client.log(project="p", source="answer")["id"]
        assert next_line(process).endswith("  p  -  answer  -\n")
        client.ok("PATCH", f"/logs/{opened}", json={"output": "Because", "duration": 2})
        assert next_line(process).endswith("  p  -  answer  2.00 s  Because\n")
        assert end(process) == (130, "")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--project", "--session"])
def test_those_of_a_project_or_of_a_session_as_json(database: str, start: Start, option: str) -> None:
    """All fields of each datapoint, in lines of JSON."""
    with served(database) as base_url:
        client = Client(base_url)
        session_id = client.new_session()
        process = start(base_url, "--json", option, {"--project": "wanted", "--session": session_id}[option])
        of_session = client.log(project="other", session_id=session_id, output="ü")["id"]
        of_project = client.log(project="wanted", output="ü")["id"]
        client.log(project="other", output="ü")
        wanted = {"--project": of_project, "--session": of_session}[option]
        assert json.loads(next_line(process)) == client.ok("GET", f"/logs/{wanted}")
        assert end(process) == (130, "")


@pytest.mark.slow
def test_none_is_missed_or_repeated_when_the_server_restarts(
    tmp_path: Path, start: Start, spawn: Callable[..., Any]
) -> None:
    """Even if the latest datapoints are deleted. One that has ended comes once more, also from before."""
    port = str(free_port())
    server = spawn(tmp_path, "--port", port)
    client = Client(server.base_url)
    process = start(server.base_url, "--json")
    created = [client.log(project="p")["id"] for _ in range(3)]
    assert [json.loads(next_line(process))["id"] for _ in created] == created
    client.ok("PATCH", f"/logs/{created[0]}", json={"duration": 1})
    assert json.loads(next_line(process)) == client.ok("GET", f"/logs/{created[0]}")
    server.process.kill()
    assert next_error(process) == f"Waiting for {server.base_url}\n"
    server = spawn(tmp_path, "--port", port)
    assert next_error(process) == f"Watching {server.base_url} again\n"
    client.ok("PATCH", f"/logs/{created[1]}", json={"error": "late"})
    assert json.loads(next_line(process)) == client.ok("GET", f"/logs/{created[1]}")
    created = client.ok("POST", "/logs", json=[{"project": "p"}] * 250)
    assert [json.loads(next_line(process))["id"] for _ in created] == [log["id"] for log in created]
    assert client("DELETE", "/logs", params={"id": [log["id"] for log in created[-60:]]}).ok
    created = [client.log(project="p")["id"] for _ in range(3)]
    assert [json.loads(next_line(process))["id"] for _ in created] == created
    assert end(process) == (130, "")


@pytest.mark.slow
def test_a_closed_pipe_ends_it_without_a_word(database: str, start: Start) -> None:
    """When there is something to print."""
    with served(database) as base_url:
        process = start(base_url)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        Client(base_url).log(project="p")
        process.wait(PATIENCE)
        assert process.stderr.read() == ""


def test_a_server_that_cannot_be_asked_is_one_clear_line(locked_base_url: str, api_key: str) -> None:
    """At the start. Later the command waits for the server."""

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(tail, arguments)
        assert result.exit_code != 0
        assert api_key not in result.output
        return result.output

    wrong_key = "Error: the API key is missing or wrong: check --api-key or HL_SESSIONS_API_KEY\n"
    assert run("--url", locked_base_url) == wrong_key
    assert run("--url", locked_base_url, "--api-key", "hls_another") == wrong_key
    elsewhere = locked_base_url.removesuffix("/v4")
    assert f"{elsewhere} is no API: does the URL end in /v4?" in run("--url", elsewhere, "--api-key", api_key)
    elsewhere = f"{locked_base_url}/elsewhere"
    assert f"{elsewhere} answers 404: does the URL end in /v4" in run(
        "--url", elsewhere, "--api-key", api_key
    )
    nobody = f"http://127.0.0.1:{free_port()}/v4"
    assert run("--url", nobody) == f"Error: there is no answer from {nobody}\n"
    assert "'--session': 'x' is not the ID of a session" in run("--session", "x")
    assert "not an http or https URL" in run("--url", "x")
    assert "value not shown" in run("--api-key", f"{api_key} ")


@pytest.mark.parametrize(
    ("detail", "told"), [("only this machine may call", ": only this machine may call"), ([{"loc": []}], "")]
)
def test_what_a_server_refuses_is_told_as_a_sentence(
    sessions_api: SessionsAPI, detail: Any, told: str
) -> None:
    """Never as JSON."""
    sessions_api.answer = lambda _: Answer(403, {"detail": detail})
    result = CliRunner().invoke(tail, ["--url", sessions_api.base_url])
    assert (result.exit_code, result.output) == (1, f"Error: {sessions_api.base_url} answers 403{told}\n")


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, {"status": "ok"}), (200, {"next": 1, "records": 1}), (200, []), (200, None), (403, "forbidden")],
)
def test_another_api_is_told_as_a_sentence(sessions_api: SessionsAPI, status: int, body: Any) -> None:
    sessions_api.answer = lambda _: Answer(status, body)
    result = CliRunner().invoke(tail, ["--url", sessions_api.base_url])
    assert result.exit_code == 1
    assert result.output == f"Error: {sessions_api.base_url} is no API: does the URL end in /v4?\n"
