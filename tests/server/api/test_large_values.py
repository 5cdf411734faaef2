"""Answers with megabytes in them: the same to clients, and never in memory as a whole."""

import http.client
import json
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from hl_sessions.server.protocol.messages import answered_message
from tests.server.conftest import Client
from tests.waiting import PATIENCE, wait_until

MEGABYTE = 1024 * 1024
# Characters of one to four bytes, so that pieces end within some of them, and characters that JSON escapes.
TEXT = 'Übung "macht"\\\n\t\x01 漢字 den 😀 Meister; ' * 30_000
MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": "short"},
    {"role": "assistant", "content": TEXT},
    {
        "role": "user",
        "content": [{"type": "text", "text": TEXT}, {"type": "image_url", "image_url": {"url": TEXT}}],
    },
    {"role": "developer", "content": [{"type": "input_audio", "data": TEXT[:5000], "n": 1.50}], "name": None},
    {"role": TEXT[:300], "content": None, TEXT[:400]: {"a": [True, None, {"b": TEXT[:1000]}]}},
    {
        "role": "assistant",
        "tool_calls": [{"type": "custom", "custom": {"name": "f", "input": {"x": TEXT[:700]}}}],
    },
    {"role": "user", "content": "x" * 300 + "\\", "numbers": list(range(300))},
    {"role": "user", "content": '\\"' * 300},
    *({"role": "tool", "content": f"{number} {TEXT[:500]}"} for number in range(2000)),
]
VALUES: dict[str, Any] = {
    "inputs": {"question": TEXT, "n": 1e-7, "large": 10**30},
    "messages": MESSAGES,
    "output": TEXT,
    "output_message": {"role": "assistant", "content": TEXT},
    "metadata": {"context": [TEXT]},
    "judgment": TEXT,
    "error": TEXT,
    "stdout": TEXT,
    "provider_request": {"body": TEXT},
    "provider_response": {"body": TEXT},
    "source": TEXT,
    "environment": TEXT,
    "config": {"type": "model", "model": "m", "prompt_template": TEXT},
}
ANSWERED = {
    **VALUES,
    "messages": [answered_message(message) for message in MESSAGES],
    "output_message": answered_message(VALUES["output_message"]),
}


def of_project(client: Client, unique: str, **fields: Any) -> tuple[str, str]:
    created = client.log(project=unique, session_reference_id=unique, **fields)
    return created["project_id"], created["id"]


@pytest.mark.parametrize("name", VALUES)
def test_a_long_value_is_answered_as_a_short_one_is(client: Client, unique: str, name: str) -> None:
    project_id, before = of_project(client, unique, output="before")
    _, log_id = of_project(client, unique, **{name: VALUES[name]})
    _, after = of_project(client, unique, output="after")
    page = client.ok("GET", f"/logs?project_id={project_id}")
    assert [log["id"] for log in page["records"]] == [after, log_id, before]
    assert (page["page"], page["size"], page["total"]) == (1, 50, 3)
    log = page["records"][1]
    answer = {key: log[name][key] for key in VALUES[name]} if name == "config" else log[name]
    assert answer == ANSWERED[name]
    assert client.ok("GET", f"/logs/{log_id}") == log


def test_a_long_value_is_answered_to_who_changes_the_datapoint(client: Client, unique: str) -> None:
    _, log_id = of_project(client, unique, inputs=VALUES["inputs"])
    changed = client.ok("PATCH", f"/logs/{log_id}", json={"output": TEXT})
    assert (changed["inputs"], changed["output"]) == (VALUES["inputs"], TEXT)


def test_a_session_is_answered_with_its_long_inputs_and_output(client: Client, unique: str) -> None:
    project_id, _ = of_project(client, unique, inputs=VALUES["inputs"], output=TEXT)
    other = client.log(project=unique, session_reference_id=f"{unique} 2", output="short")
    page = client.ok("GET", f"/sessions?project_id={project_id}")
    assert page["records"][1]["first_inputs"] == VALUES["inputs"]
    assert page["records"][1]["last_output"] == TEXT
    assert page["records"][0]["id"] == other["session_id"]
    assert client.ok("GET", f"/sessions/{page['records'][1]['id']}") == page["records"][1]


@contextmanager
def slow_answer(client: Client, path: str) -> Iterator[http.client.HTTPResponse]:
    """An answer that is held back after as much as a network holds."""
    address = urlsplit(client.base_url)
    with socket.socket() as connection:
        connection.settimeout(PATIENCE)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.connect((str(address.hostname), address.port))
        connection.sendall(f"GET {address.path}{path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        with http.client.HTTPResponse(connection, method="GET") as answer:
            answer.begin()
            yield answer


def test_an_answer_whose_rest_is_gone_ends_before_its_end(client: Client, unique: str) -> None:
    """No client takes half of an answer for the whole."""
    _, log_id = of_project(client, unique, output="x" * 9 * MEGABYTE)
    with slow_answer(client, f"/logs/{log_id}") as answer:
        beginning = answer.read(1000)
        assert client("DELETE", "/logs", params={"id": log_id}).ok
        with pytest.raises(http.client.IncompleteRead) as error:
            answer.read()
    with pytest.raises(json.JSONDecodeError):
        json.loads(beginning + error.value.partial)


def test_a_slow_reader_does_not_keep_the_database_from_forgetting_old_states(
    spawn: Callable[..., Any], tmp_path: Path
) -> None:
    client = Client(spawn(tmp_path).base_url)
    log_id = client.log(project="slow", output="x" * 9 * MEGABYTE)["id"]
    with slow_answer(client, f"/logs/{log_id}") as answer:
        beginning = answer.read(1000)
        client.log(project="slow", output="more")
        with closing(sqlite3.connect(tmp_path / "hl-sessions.sqlite3", timeout=PATIENCE)) as database:
            is_busy, *_ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not is_busy
        assert json.loads(beginning + answer.read())["output"] == "x" * 9 * MEGABYTE


def memory_of(server: Any, kind: str) -> int:
    """Return the memory of a server according to Linux, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines[kind].split()[0]) * 1024


def forget_peak(server: Any) -> None:
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much memory was used")


@on_linux
@pytest.mark.slow
def test_large_datapoints_take_no_memory_once_they_are_stored(
    spawn: Callable[..., Any], tmp_path: Path
) -> None:
    server = spawn(tmp_path)
    client = Client(server.base_url)
    client.log(project="large", output="small")
    before = memory_of(server, "VmRSS")
    for _ in range(5):
        client.log(project="large", output="x" * 9 * MEGABYTE, inputs={"question": "small"})
    wait_until(lambda: memory_of(server, "VmRSS") - before < 30 * MEGABYTE)


@pytest.mark.slow
@on_linux
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("inputs", {"question": "x" * 9 * MEGABYTE}),
        ("output", 'a "quoted" word ' * (MEGABYTE // 2)),
        ("messages", [{"role": "user", "content": "x" * 9 * MEGABYTE}]),
    ],
)
def test_a_list_of_large_datapoints_takes_little_memory(
    spawn: Callable[..., Any], tmp_path: Path, name: str, value: Any
) -> None:
    """Nor does a list of sessions."""
    server = spawn(tmp_path)
    client = Client(server.base_url)
    for number in range(6):
        created = client.log(project="large", session_reference_id=str(number), **{name: value})
    for kind in ("logs", "sessions"):
        forget_peak(server)
        before = memory_of(server, "VmHWM")
        with requests.get(
            f"{client.base_url}/{kind}?project_id={created['project_id']}", stream=True, timeout=PATIENCE
        ) as answer:
            length = sum(len(chunk) for chunk in answer.iter_content(MEGABYTE))
        assert length > 40 * MEGABYTE or (kind == "sessions" and name == "messages")
        assert memory_of(server, "VmHWM") - before < 40 * MEGABYTE
