"""Applications log from the workers of real servers."""

import os
import socket
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.datapoints.conftest import Stored
from tests.gunicorn_server import running_gunicorn
from tests.interpreters import is_installed
from tests.servers import free_port
from tests.waiting import PATIENCE, wait_until

REQUESTS = 40

WSGI = """
import os, time
from hl_sessions import SessionManager
from hl_sessions.integrations.wsgi import HLSessionMiddleware

manager = SessionManager(os.environ["API"], project=os.environ["PROJECT"])
manager.log(source="loaded")

def application(environ, start_response):
    place = environ["PATH_INFO"]
    with manager.datapoint(source=f"answer {place}") as answer:
        manager.log(source=f"moderation {place}")
        answer.output = place
    start_response("200 OK", [("Content-Type", "text/plain")])
    def stream():
        yield place.encode()
        manager.log(source=f"streamed {place}")
    return stream()

application = HLSessionMiddleware(application, manager)
"""

ASGI = """
import os
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse
from starlette.routing import Route
from hl_sessions import SessionManager
from hl_sessions.integrations.starlette import HLSessionMiddleware

manager = SessionManager(os.environ["API"], project=os.environ["PROJECT"])

def background(place):
    manager.log(source=f"background {place}")

@manager.datapoint(source="stream", inputs={})
async def stream(place):
    yield place
    manager.log(source=f"streamed {place}")

async def answer(request):
    place = request.url.path
    async with manager.datapoint(source=f"answer {place}"):
        manager.log(source=f"moderation {place}")
    return StreamingResponse(stream(place), background=BackgroundTask(background, place))

app = Starlette(routes=[Route("/{number}", answer)])
app.add_middleware(HLSessionMiddleware, manager=manager)
"""


def get_all(base_url: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: requests.get(f"{base_url}/{n}", timeout=PATIENCE), range(REQUESTS)))


def by_session(stored: Stored) -> list[list[dict[str, Any]]]:
    sessions: dict[str, list[dict[str, Any]]] = {}
    for datapoint in stored.datapoints():
        if "session_id" in datapoint:
            sessions.setdefault(datapoint["session_id"], []).append(datapoint)
    return list(sessions.values())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--worker-class=sync", "--workers=2"],
        pytest.param(["--worker-class=gthread", "--workers=2", "--threads=4"], marks=pytest.mark.slow),
        ["--worker-class=gthread", "--workers=2", "--threads=4", "--preload"],
        pytest.param(
            ["--worker-class=gevent", "--workers=2"],
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(not is_installed("gevent"), reason="needs gevent"),
            ],
        ),
        pytest.param(
            ["--worker-class=gevent", "--workers=2", "--preload"],
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(not is_installed("gevent"), reason="needs gevent"),
            ],
        ),
    ],
    ids=" ".join,
)
def test_gunicorn(tmp_path: Path, stored: Stored, arguments: list[str]) -> None:
    """Each request is a session with its datapoints, and nothing is lost when the workers end."""
    (tmp_path / "bot.py").write_text(WSGI)
    environment = {"API": stored.base_url, "PROJECT": stored.project}
    with running_gunicorn(tmp_path, *arguments, "bot:application", **environment) as (host, port):
        get_all(f"http://{host}:{port}")
    sessions = by_session(stored)
    assert len(sessions) == REQUESTS
    for datapoints in sessions:
        [answer] = [log for log in datapoints if log["source"].startswith("answer")]
        place = answer["output"]
        assert {log["source"]: log.get("parent_id") for log in datapoints} == {
            f"answer {place}": None,
            f"moderation {place}": answer["id"],
            f"streamed {place}": None,
        }
    loaded = Counter(log["source"] for log in stored.datapoints())["loaded"]
    assert loaded == (1 if "--preload" in arguments else 2)


def test_uvicorn(tmp_path: Path, stored: Stored) -> None:
    """Also what is logged while a response is streamed, and by background tasks."""
    (tmp_path / "bot.py").write_text(ASGI)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bot:app", f"--port={port}", "--log-level=warning"]
    environment = {"API": stored.base_url, "PROJECT": stored.project}
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **environment})
    try:
        wait_until(lambda: takes_connections(port))
        get_all(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(PATIENCE)
    sessions = by_session(stored)
    assert len(sessions) == REQUESTS
    for datapoints in sessions:
        [stream] = [log for log in datapoints if log["source"] == "stream"]
        place = stream["output"]
        parents = {log["source"]: log.get("parent_id") for log in datapoints}
        [answer] = [log["id"] for log in datapoints if log["source"].startswith("answer")]
        assert parents == {
            f"answer {place}": None,
            f"moderation {place}": answer,
            "stream": None,
            f"streamed {place}": stream["id"],
            f"background {place}": None,
        }


def takes_connections(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
