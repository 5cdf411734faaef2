"""The applications of the examples, started by one command, are seen in the page that comes along."""

import socket
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.examples.running import RunningExample, running, shape
from tests.servers import served
from tests.waiting import PATIENCE

pytest.importorskip("openai")

pytestmark = pytest.mark.slow


def ask(example: RunningExample, is_up: str) -> requests.Response:
    """Ask what the example tells its user to ask, as soon as it listens."""
    url = example.wait_for_line(r"curl .*'(\S+)'")
    example.wait_for_line(is_up)
    response = requests.get(url, timeout=PATIENCE)
    response.raise_for_status()
    return response


def sessions_of(datapoints: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the datapoints of each session."""
    ordered = sorted(datapoints, key=lambda datapoint: str(datapoint["session_id"]))
    return [list(each) for _, each in groupby(ordered, lambda datapoint: datapoint["session_id"])]


def test_fastapi_streams_what_a_model_says_of_the_result_of_its_tool() -> None:
    """Its calls and those of the tool are nested, and what runs in the background has the session, too."""
    with running("fastapi_chat") as example:
        assert ask(example, "running on").text == "As far as I know: It left our warehouse on Tuesday."
        datapoints = example.datapoints(5)
        page = requests.get(example.page, timeout=PATIENCE).text
    assert shape(datapoints) == {
        "answer": None,
        "choose tool": "answer",
        "find order": "answer",
        "reply": "answer",
        "judgment": None,
    }
    logged = {datapoint["source"]: datapoint for datapoint in datapoints}
    (call,) = logged["choose tool"]["output_message"]["tool_calls"]
    assert call["function"] == {"name": "find_order", "arguments": '{"number": "4711"}'}
    assert logged["find order"]["inputs"] == {"number": "4711"}
    reply = logged["reply"]
    assert reply["output"] == logged["answer"]["output"]
    assert reply["metadata"]["time_to_first_output"] < reply["duration"]
    assert (reply["config"]["model"], reply["output_tokens"]) == ("fake-model", 11)
    assert "Where is order 4711?" in page


def test_flask_streams_what_a_model_says_of_the_text_that_was_found() -> None:
    with running("flask_chat") as example:
        assert ask(example, "Running on").text == "As far as I know: We ship to Norway in 3 to 5 days."
        datapoints = example.datapoints(3)
    assert shape(datapoints) == {"moderation": None, "answer": None, "retrieval": "answer"}
    assert [each["output"] for each in datapoints if each["source"] == "answer"] == [
        "As far as I know: We ship to Norway in 3 to 5 days."
    ]


def test_the_messages_of_a_chat_in_django_are_one_session() -> None:
    with running("django_chat") as example:
        first = ask(example, "Starting development server")
        other_chat = first.url.replace("alice", "bob")
        for url in (first.url, other_chat):
            requests.get(url, timeout=PATIENCE).raise_for_status()
        datapoints = example.datapoints(3)
    assert first.json() == {"chat": "alice", "answer": "You asked: Why?"}
    assert sorted(len(session) for session in sessions_of(datapoints)) == [1, 2]


@pytest.mark.parametrize("broker", ["SQLite", "Redis"])
def test_celery_logs_in_a_worker_what_is_nested_under_its_pipeline(
    broker: str, request: pytest.FixtureRequest
) -> None:
    """Of both questions, which are in the queue at once."""
    variables = {}
    if broker == "Redis":
        variables["REDIS_URL"] = f"{request.getfixturevalue('redis_server')}/7"
    with running("celery_jobs", **variables) as example:
        example.wait_for_line("Done")
        sessions = sessions_of(example.datapoints(10))
    outputs = set()
    for session in sessions:
        assert shape(session) == {
            "pipeline": None,
            "moderation": "pipeline",
            "retrieval": "pipeline",
            "answer": "pipeline",
            "model": "answer",
        }
        outputs |= {each["output"] for each in session if each["source"] == "model"}
    assert outputs == {"As far as I know: 42", "As far as I know: a mouse"}


@pytest.mark.parametrize("line", ["What is the answer", "Warm shutdown"])
def test_ctrl_c_ends_celery_and_its_worker_at_any_moment(line: str) -> None:
    """While the example waits for an answer or for its worker, which is told to end once."""
    example = RunningExample("celery_jobs")
    try:
        seen = example.wait_for_line(line)
        assert (seen + example.interrupt()).count("Warm shutdown") == 1
    finally:
        example.kill()


def test_the_tools_of_an_mcp_server_log_into_the_session_of_the_question() -> None:
    """Also where two questions are asked at once, by one connection."""
    pytest.importorskip("mcp.server.mcpserver")
    with running("mcp_agent") as example:
        example.wait_for_line("Done")
        sessions = sessions_of(example.datapoints(8))
    found = set()
    for session in sessions:
        assert shape(session) == {"agent": None, "model": "agent", "find order": None}
        (order,) = {each["inputs"]["number"] for each in session if each["source"] == "find order"}
        (asked,) = {each["inputs"]["question"] for each in session if each["source"] == "agent"}
        assert asked == f"Where is order {order}?"
        found.add(order)
    assert found == {"4711", "4712"}


def test_an_example_logs_to_the_server_that_the_environment_names(tmp_path: Path) -> None:
    """No other one is started."""
    with served(tmp_path / "sessions.sqlite3") as url:
        with running("conversations", HL_SESSIONS_BASE_URL=url) as example:
            example.wait_for_line("Done")
            assert example.page == url.removesuffix("v4")
        assert len(requests.get(f"{url}/sessions", timeout=PATIENCE).json()["records"]) == 3


def test_an_example_that_fails_ends_with_its_code() -> None:
    """Here, because another process has the port that it is told to take."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        example = RunningExample("flask_chat", PORT=str(taken.getsockname()[1]))
        try:
            example.wait_for_line("in use")
            assert example.wait() == 1
        finally:
            example.kill()
