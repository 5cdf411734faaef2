"""A wrong setting in the environment: found where an application is assembled, no error of a request."""

import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import hl_sessions.defaults
from hl_sessions import (
    ConfigurationError,
    SessionManager,
    configure,
    current_session,
    current_session_id,
    datapoint,
    log,
    with_session,
)
from hl_sessions.carrying import carried
from hl_sessions.integrations import asgi, wsgi
from hl_sessions.integrations.flask import HLSessions
from tests.sessions_api import SessionsAPI

KEY = "hl_sk_123"


@pytest.fixture(autouse=True)
def a_key_with_a_line_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell or a secret file leaves it."""
    monkeypatch.setenv("HL_SESSIONS_API_KEY", KEY + "\n")
    monkeypatch.setattr(hl_sessions.defaults._default.said_wrong, "said", False)


@pytest.fixture
def configured(sessions_api: SessionsAPI) -> Iterator[SessionManager]:
    with configure(sessions_api.base_url, KEY) as manager:
        yield manager


def starlette_application() -> Starlette:
    async def home(_: Request) -> PlainTextResponse:
        return PlainTextResponse(str(current_session() is not None))

    return Starlette(routes=[Route("/", home)])


def wsgi_application(_: Any, start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [])
    return [str(current_session() is not None).encode()]


def call(app: Any) -> bytes:
    return b"".join(app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None))


class TestAssembly:
    def test_wsgi(self) -> None:
        """The constructor names the variable and both ways out, and not the key."""
        with pytest.raises(ConfigurationError, match=r"^HL_SESSIONS_API_KEY .*\.configure") as raised:
            wsgi.HLSessionMiddleware(wsgi_application)
        assert KEY not in str(raised.value)

    def test_flask(self) -> None:
        """So does the extension, when it is given its application."""
        extension = HLSessions()
        with pytest.raises(ConfigurationError, match=r"^HL_SESSIONS_API_KEY "):
            extension.init_app(Flask(__name__))

    def test_asgi(self) -> None:
        """The server is told at its start-up, and ends with the reason."""
        code = (
            "import sys, uvicorn\n"
            "from starlette.applications import Starlette\n"
            "from hl_sessions.integrations.asgi import HLSessionMiddleware\n"
            "uvicorn.run(HLSessionMiddleware(Starlette()), port=0)\n"
        )
        process = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert process.returncode != 0
        assert "HL_SESSIONS_API_KEY must be printable ASCII" in process.stderr
        assert "Traceback" not in process.stderr
        assert KEY not in process.stderr

    def test_test_client(self) -> None:
        """It raises at the start-up, as for a fault of the application's own."""
        with pytest.raises(ConfigurationError, match=r"^HL_SESSIONS_API_KEY "):
            TestClient(asgi.HLSessionMiddleware(starlette_application())).__enter__()

    def test_asgi_application_that_configures_at_its_start_up(self, sessions_api: SessionsAPI) -> None:
        """The environment at the end of the start-up counts."""

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            with configure(sessions_api.base_url, KEY):
                yield

        app = starlette_application()
        app.router.lifespan_context = lifespan
        with TestClient(asgi.HLSessionMiddleware(app)) as client:
            assert client.get("/").text == "True"

    def test_nothing_is_wrong_with_a_manager_of_its_own(self, configured: SessionManager) -> None:
        """What is configured, or given, is not looked up in the environment."""
        for manager in (None, configured):
            app = wsgi.HLSessionMiddleware(wsgi_application, manager)
            assert call(app) == b"True"
            with TestClient(asgi.HLSessionMiddleware(starlette_application(), manager)) as client:
                assert client.get("/").text == "True"


class TestRequest:
    def test_goes_on_without_a_session(self, caplog: pytest.LogCaptureFixture) -> None:
        """Where no start-up was seen: the application answers, and one warning says why it has no session."""
        client = TestClient(asgi.HLSessionMiddleware(starlette_application()))
        assert [client.get("/").text for _ in range(3)] == ["False"] * 3
        (record,) = [record for record in caplog.records if record.name == "hl_sessions"]
        assert record.levelno == logging.WARNING
        assert "requests have no session: HL_SESSIONS_API_KEY must be printable" in record.getMessage()
        assert KEY not in record.getMessage()

    def test_of_wsgi_too(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """Where the variable was set after the application was assembled."""
        with monkeypatch.context() as patch:
            patch.delenv("HL_SESSIONS_API_KEY")
            app = wsgi.HLSessionMiddleware(wsgi_application)
        assert [call(app) for _ in range(3)] == [b"False"] * 3
        assert len([record for record in caplog.records if record.name == "hl_sessions"]) == 1

    def test_has_one_once_it_is_configured(self, sessions_api: SessionsAPI) -> None:
        """``configure`` may come after the first request."""
        client = TestClient(asgi.HLSessionMiddleware(starlette_application()))
        assert client.get("/").text == "False"
        with configure(sessions_api.base_url, KEY):
            assert client.get("/").text == "True"


class TestCall:
    def test_goes_on_without_an_id(self, caplog: pytest.LogCaptureFixture) -> None:
        """Of a decorated function, a job and a datapoint, with one warning that says why."""

        @with_session
        @datapoint(project="support")
        def answer(question: str) -> tuple[str, str | None]:
            log(project="support", source="moderation", output="fine")
            return question, current_session_id()

        assert [answer("Where?") for _ in range(3)] == [("Where?", None)] * 3
        with carried({"session_id": "sesh_of_the_sender"}):
            assert current_session_id() == "sesh_of_the_sender"
            log(project="support", output="done")
        (record,) = [record for record in caplog.records if record.name == "hl_sessions"]
        said = record.getMessage()
        assert said.startswith("sessions get no ID, and datapoints are not logged: HL_SESSIONS_API_KEY ")
        assert KEY not in said

    def test_one_thing_is_said_of_a_request_that_logs(self, caplog: pytest.LogCaptureFixture) -> None:
        async def home(_: Request) -> PlainTextResponse:
            return PlainTextResponse(log(project="support", output="fine", reference_id="log_1"))

        client = TestClient(asgi.HLSessionMiddleware(Starlette(routes=[Route("/", home)])))
        assert client.get("/").text == "log_1"
        (record,) = [record for record in caplog.records if record.name == "hl_sessions"]
        assert "requests have no session: HL_SESSIONS_API_KEY " in record.getMessage()

    def test_has_a_session_once_the_application_has_configured(self, sessions_api: SessionsAPI) -> None:
        """A wrong setting is not remembered."""
        read = with_session(current_session_id)
        assert read() is None
        with configure(sessions_api.base_url, KEY):
            assert read() is not None
