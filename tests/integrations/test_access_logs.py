"""The recipes for log files work as they are written, in the servers themselves."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("django")

from tests.gunicorn_server import running_gunicorn
from tests.integrations.conftest import get_raw, headers_named
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE, wait_until

PAGE = Path(__file__).parent.parent.parent / "docs" / "logs-and-traces.md"

ASGI_APPLICATION = """
import logging
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from hl_sessions import acurrent_session_id
from hl_sessions.integrations.starlette import HLSessionMiddleware

async def read(request):
    await acurrent_session_id()
    logging.getLogger("shop").info("read")
    return Response()

async def unread(request):
    return Response()

async def failing(request):
    await acurrent_session_id()
    logging.getLogger("shop").info("failing")
    raise ValueError

app = Starlette(routes=[Route("/read", read), Route("/unread", unread), Route("/failing", failing)])
app.add_middleware(HLSessionMiddleware)
"""

DJANGO_PROJECT = """
import logging
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from hl_sessions import current_session_id

{LOGGING}

def read(request):
    current_session_id()
    logging.getLogger("shop").info("read")
    return HttpResponse()

def unread(request):
    logging.getLogger("shop").info("unread")
    return HttpResponse()

urlpatterns = [path("read", read), path("unread", unread)]
settings.configure(
    ALLOWED_HOSTS=["*"],
    HL_SESSIONS={"response_header": "X-Session-ID"},
    LOGGING=LOGGING,
    MIDDLEWARE=["hl_sessions.integrations.django.HLSessionMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of tests",
)
app = get_wsgi_application()
"""


def shown(pattern: str) -> str:
    """What the page shows."""
    found = re.search(pattern, PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


class Lines:
    """The lines that a process writes to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def wait_for(self, ending: str) -> str:
        """Return the one that ends so, once it is there, without that."""
        wait_until(lambda: self._ending_with(ending))
        return self._ending_with(ending)[0].removesuffix(ending)

    def _ending_with(self, ending: str) -> list[str]:
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [line for line in lines if line.endswith(ending)]


@pytest.fixture
def uvicorn_lines(
    tmp_path: Path, sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lines]:
    monkeypatch.setenv("HL_SESSIONS_BASE_URL", sessions_api.base_url)
    (tmp_path / "app.py").write_text(ASGI_APPLICATION)
    (tmp_path / "log.json").write_text(shown(r"^```json\n(.*?)^```"))
    command = [sys.executable, "-m", "uvicorn", *shlex.split(shown(r"`uvicorn (.*?)`")), "--port=0"]
    path = tmp_path / "lines"
    with path.open("w") as file:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=file, stderr=file)
    yield Lines(path)
    process.terminate()
    process.wait(PATIENCE)


def test_the_access_line_of_uvicorn_has_the_id(uvicorn_lines: Lines, sessions_api: SessionsAPI) -> None:
    """If somebody has read it before the response starts; lines of the server itself have none."""
    started = uvicorn_lines.wait_for(" (Press CTRL+C to quit)")
    said, _, url = started.rpartition(" ")
    assert said == "- Uvicorn running on"
    address = (str(urlsplit(url).hostname), int(urlsplit(url).port or 0))
    for path in ("/unread", "/read", "/failing"):
        get_raw(address, path)
    for path, status in (("/read", "200 OK"), ("/failing", "500 Internal Server Error")):
        session_id = uvicorn_lines.wait_for(f" {path[1:]}")
        assert session_id.startswith("sesh_")
        line = uvicorn_lines.wait_for(f' "GET {path} HTTP/1.1" {status}')
        assert re.fullmatch(rf"{session_id} 127\.0\.0\.1:\d+", line)
    assert uvicorn_lines.wait_for(' "GET /unread HTTP/1.1" 200 OK').startswith("- 127.0.0.1:")
    assert sessions_api.posts == 2


def test_django_and_the_access_log_of_gunicorn_have_the_id(tmp_path: Path, sessions_api: SessionsAPI) -> None:
    """Lines of the project while the request is served, the line of the server afterwards."""
    logging_setting = shown(r"^(LOGGING = .*?^})")
    (tmp_path / "app.py").write_text(DJANGO_PROJECT.replace("{LOGGING}", logging_setting))
    arguments = [*shlex.split(shown(r"^\$ gunicorn (.*?)$")), "--capture-output", "--error-logfile=lines"]
    arguments[arguments.index("-")] = "access"
    lines, access = Lines(tmp_path / "lines"), Lines(tmp_path / "access")
    with running_gunicorn(tmp_path, *arguments, HL_SESSIONS_BASE_URL=sessions_api.base_url) as address:
        (session_id,) = headers_named("X-Session-ID", get_raw(address, "/read"))
        get_raw(address, "/unread")
        assert lines.wait_for(" read") == session_id
        assert lines.wait_for(" unread") == "-"
        assert access.wait_for(f" {session_id}") == '127.0.0.1 "GET /read HTTP/1.1" 200'
        assert access.wait_for(" -") == '127.0.0.1 "GET /unread HTTP/1.1" 200'
    assert sessions_api.posts == 1
