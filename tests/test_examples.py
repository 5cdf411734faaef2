"""The examples run and do what they say."""

import asyncio
import os
import re
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from starlette.testclient import TestClient

from hl_sessions import configure, flush
from hl_sessions.defaults import default_manager
from tests.servers import served
from tests.waiting import PATIENCE

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = str(tmp_path_factory.mktemp("examples") / "sessions.sqlite3")
    with served(database) as url:
        yield url


@pytest.fixture(autouse=True)
def _default_manager(api_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HL_SESSIONS_BASE_URL", api_url)
    configure(api_url)
    yield
    default_manager().close()


def run(name: str, api_url: str) -> list[str]:
    """The lines that an example prints as a script."""
    completed = subprocess.run(
        [sys.executable, EXAMPLES / name],
        env=os.environ | {"HL_SESSIONS_BASE_URL": api_url},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert completed.stderr == ""
    return completed.stdout.splitlines()


def datapoints(api_url: str, project: str) -> list[dict[str, Any]]:
    """The datapoints of a project, those that were logged in this process included."""
    assert flush(PATIENCE)
    projects = requests.get(f"{api_url}/projects", timeout=PATIENCE).json()["records"]
    project_id = next(record["id"] for record in projects if record["name"] == project)
    records: list[dict[str, Any]]
    records = requests.get(f"{api_url}/logs", params={"project_id": project_id}, timeout=PATIENCE).json()[
        "records"
    ]
    return records


def test_every_example_is_run_by_a_test() -> None:
    """A new example needs a test, here or in the folder beside."""
    tests = Path(__file__).parent
    source = "".join(path.read_text() for path in (Path(__file__), *tests.glob("examples/*.py")))
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in source] == []


def test_flask_logs_the_start_and_the_end_of_a_stream_under_one_session(api_url: str) -> None:
    """The datapoint of the streamed body has the session of the request, and the whole body as output."""
    app = runpy.run_path(str(EXAMPLES / "flask_chat.py"))["app"]
    response = app.test_client().get("/chat?question=Why")
    assert response.text == "You asked: Why "
    logged = datapoints(api_url, "flask-chat")
    assert {record["source"]: record["output"] for record in logged} == {
        "moderation": "allowed",
        "answer": response.text,
    }
    assert len({record["session_id"] for record in logged}) == 1


def test_fastapi_logs_in_the_background_under_the_session_of_the_dependency(api_url: str) -> None:
    """The endpoint and the background task have the session that the endpoint was given."""
    app = runpy.run_path(str(EXAMPLES / "fastapi_chat.py"))["app"]
    answer = TestClient(app).get("/chat", params={"question": "Why"}).json()
    logged = datapoints(api_url, "fastapi-chat")
    assert {record["source"] for record in logged} == {"answer", "judgment"}
    assert {record["session_id"] for record in logged} == {answer["session"]}


def test_conversations_have_a_session_each(api_url: str) -> None:
    """Messages of a chat share one until a new conversation is asked for."""
    lines = run("conversations.py", api_url)
    first, other, second, _, again = (re.findall(r"sesh_\S+", line) for line in lines)
    assert first == second
    assert len({*first, *other, *again}) == 3
    logged = {
        record["inputs"]["text"]: record["session_id"] for record in datapoints(api_url, "conversations")
    }
    assert [logged[text] for text in ("Hello", "Hi", "Hello again")] == [*first, *other, *again]


def test_threads_have_the_session_of_the_caller(api_url: str) -> None:
    """All four lines show the same ID, and all four datapoints have it."""
    lines = run("threads.py", api_url)
    assert [line.split(":")[0] for line in lines] == ["caller", "pool 1", "pool 2", "thread"]
    assert len({line.split(": ")[1] for line in lines}) == 1
    assert "sesh_" in lines[0]
    logged = datapoints(api_url, "threads")
    assert sorted(f"{record['source']}: {record['session_id']}" for record in logged) == sorted(lines)


def test_celery_logs_a_chain_of_tasks_under_the_session_of_who_sent_it(
    api_url: str, redis_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three datapoints, two of them from a worker, name one session."""
    monkeypatch.setenv("REDIS_URL", f"{redis_server}/7")
    options = ["--pool=solo", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "celery_jobs", "worker", *options]
    worker = subprocess.Popen(command, cwd=EXAMPLES)
    try:
        assert run("celery_jobs.py", api_url) == ["What is the answer? 42!"]
    finally:
        worker.terminate()
        worker.wait(PATIENCE)
    logged = datapoints(api_url, "celery-jobs")
    assert sorted(record["source"] for record in logged) == ["answer", "moderation", "search"]
    assert len({record["session_id"] for record in logged}) == 1


def test_an_agent_and_its_mcp_server_log_each_question_under_one_session(
    api_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where two questions are asked at once, by one connection."""
    pytest.importorskip("mcp.server.mcpserver")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("MCP_URL", f"http://127.0.0.1:{listener.getsockname()[1]}/mcp")
        example = runpy.run_path(str(EXAMPLES / "mcp_agent.py"))
        server = uvicorn.Server(uvicorn.Config(example["app"], log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        asyncio.run(example["main"]())
        server.should_exit = True
        thread.join(PATIENCE)
    assert capsys.readouterr().out == "What is the answer? 42!\nWho asks? a mouse!\n"
    logged = datapoints(api_url, "mcp-agent")
    assert sorted(record["source"] for record in logged) == ["answer", "answer", "search", "search"]
    sessions = [
        {record["session_id"] for record in logged if record["output"] == found}
        for found in ("42", "a mouse")
    ]
    assert [len(each) for each in sessions] == [1, 1]
    assert sessions[0] != sessions[1]
