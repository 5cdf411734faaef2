"""The Flask extension."""

import json
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flask
import pytest
import requests
from flask import Blueprint, Flask, Response, stream_with_context
from werkzeug.serving import make_server

from hl_sessions import (
    ConfigurationError,
    SessionManager,
    acurrent_session_id,
    configure,
    current_session,
    current_session_id,
    flush,
    log,
)
from hl_sessions.integrations.flask import HLSessions, path_param
from tests.integrations.conftest import SESSION_ID
from tests.sessions_api import Answer, SessionsAPI, create_sessions
from tests.waiting import PATIENCE

HEADER = "X-Session-ID"
KEY = "hl_sk_top-secret-0123"


@pytest.fixture
def app(manager: SessionManager) -> Flask:
    app = Flask(__name__)
    HLSessions(app, manager, response_header=HEADER)
    return app


def read() -> str:
    return str(current_session_id())


def test_one_session_from_before_request_to_the_end_of_the_response(
    app: Flask, sessions_api: SessionsAPI
) -> None:
    """Hooks, view, teardown functions and what is called on close share one session."""
    seen: list[str] = []

    def note(*_: Any) -> None:
        seen.append(read())

    app.before_request(note)
    app.teardown_request(note)
    app.teardown_appcontext(note)

    @app.after_request
    def after(response: Response) -> Response:
        note()
        response.call_on_close(note)
        return response

    @app.get("/")
    def view() -> str:
        note()
        return "hello"

    for number in (1, 2):
        response = app.test_client().get("/")
        response.close()
        assert seen == [response.headers[HEADER]] * 6
        assert sessions_api.posts == number
        assert current_session() is None
        seen.clear()


@pytest.mark.parametrize("with_context", [False, True], ids=["plain", "stream_with_context"])
def test_stream_is_in_the_session(app: Flask, sessions_api: SessionsAPI, *, with_context: bool) -> None:
    """Each chunk, the ``finally`` of the generator and what is called on close are in the session."""
    seen: list[str] = []

    def stream() -> Iterator[str]:
        try:
            for _ in range(3):
                yield read() + " "
        finally:
            seen.append(read())

    @app.get("/<how>")
    def view(how: str) -> Response:
        if how == "read":
            seen.append(read())
        response = Response(stream_with_context(stream()) if with_context else stream())
        response.call_on_close(lambda: seen.append(read()))
        return response

    for how in ("read", "late"):
        chunks = app.test_client().get(f"/{how}").text.split()
        assert len(chunks) == 3
        assert set(chunks) == set(seen)
        assert len(set(chunks)) == 1
        seen.clear()
    assert sessions_api.posts == 2


@pytest.mark.parametrize("with_context", [False, True], ids=["plain", "stream_with_context"])
@pytest.mark.parametrize(
    "key", [path_param("chat"), lambda request: request.view_args["chat"]], ids=["path_param", "function"]
)
def test_a_stream_that_reads_first_is_in_its_conversation(
    key: Any, manager: SessionManager, *, with_context: bool
) -> None:
    """By the route, which Flask has given up when the view has returned; other chats have other sessions."""
    app = Flask(__name__)
    HLSessions(app, manager, key=key)

    @app.get("/chats/<chat>")
    def view(chat: str) -> Response:
        stream = (read() for _ in range(2))
        return Response(stream_with_context(stream) if with_context else stream)

    first, again, other = (app.test_client().get(f"/chats/{chat}").text for chat in (1, 1, 2))
    assert first == again != other


def test_header_tells_the_session_or_is_left_out(app: Flask, sessions_api: SessionsAPI) -> None:
    """It is set if the view has read the ID, and not if only the stream reads it, or no code."""
    app.get("/read")(read)
    app.get("/unread", endpoint="unread")(lambda: "hello")
    app.get("/late", endpoint="late")(lambda: Response(read() for _ in range(1)))
    client = app.test_client()
    assert HEADER not in client.get("/unread").headers
    assert sessions_api.connections == 0
    assert HEADER not in client.get("/late").headers
    response = client.get("/read")
    assert response.headers.getlist(HEADER) == [response.text]
    assert client.get("/read").text != response.text


@pytest.mark.parametrize("caught", [None, 500, Exception, LookupError], ids=str)
def test_unhandled_error_tells_its_session(caught: Any, app: Flask) -> None:
    """Flask's own 500 and that of an error handler have the header, and the handler runs in the session."""
    seen = []

    @app.get("/")
    def fail() -> str:
        seen.append(read())
        raise LookupError

    def handle(error: Exception) -> tuple[str, int]:
        seen.append(read())
        return "sorry", 500

    if caught is not None:
        app.register_error_handler(caught, handle)
    response = app.test_client().get("/")
    assert response.status_code == 500
    assert seen == [response.headers[HEADER]] * (1 if caught is None else 2)
    assert (response.text == "sorry") == (caught is not None)


def test_error_that_is_propagated_leaves_the_session(app: Flask) -> None:
    """In tests and in debug mode Flask lets errors through: no session stays behind."""
    app.testing = True

    @app.get("/")
    def fail() -> str:
        raise LookupError(read())

    with pytest.raises(LookupError, match=SESSION_ID):
        app.test_client().get("/")
    assert current_session() is None


def test_async_view_reads_without_blocking(app: Flask) -> None:
    """An async view, which Flask runs in an event loop of its own, has the session of the request."""

    @app.get("/")
    async def view() -> list[str | None]:
        return [await acurrent_session_id(), current_session_id()]

    response = app.test_client().get("/")
    assert response.json == [response.headers[HEADER]] * 2


def test_blueprints_make_no_difference(app: Flask) -> None:
    """A view and a hook of a nested blueprint have the session of the request."""
    outer, inner = Blueprint("outer", __name__, url_prefix="/outer"), Blueprint("inner", __name__)
    seen: list[str] = []
    inner.before_request(lambda: seen.append(read()))
    inner.get("/inner")(read)
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    assert seen == [] != [app.test_client().get("/outer/inner").text] == seen


def test_file_is_sent_as_it_is(app: Flask, manager: SessionManager) -> None:
    """``send_file`` goes out through the server's own file wrapper, with its length."""
    app.get("/")(lambda: flask.send_file(__file__, mimetype="text/plain"))
    starts: list[Any] = []

    class FileWrapper:
        def __init__(self, file: Any, size: int) -> None:
            self.close = file.close

    environ = app.test_request_context("/").request.environ
    environ["wsgi.file_wrapper"] = FileWrapper
    body: Any = app.wsgi_app(environ, lambda *start: starts.append(start))  # type: ignore[arg-type]
    assert type(body) is FileWrapper
    assert "Content-Length" in dict(starts[0][1])
    body.close()


def test_threaded_server_keeps_requests_apart(app: Flask, sessions_api: SessionsAPI) -> None:
    """Concurrent streams from the development server have one session each."""

    @app.get("/")
    def view() -> Response:
        current_session_id()
        return Response(read() + " " for _ in range(3))

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with ThreadPoolExecutor(4) as threads:
            url = f"http://127.0.0.1:{server.server_port}/"
            responses = list(threads.map(lambda _: requests.get(url, timeout=PATIENCE), range(12)))
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)
    assert all({*each.text.split()} == {each.headers[HEADER]} for each in responses)
    assert len({each.text for each in responses}) == sessions_api.posts == 12


# Making it


def test_one_extension_serves_several_applications(manager: SessionManager) -> None:
    """``init_app`` may be called for one application after another, in any factory."""
    sessions = HLSessions(manager=manager, response_header=HEADER)

    def create_app() -> Flask:
        app = Flask(__name__)
        sessions.init_app(app)
        app.get("/")(read)
        return app

    first, second = (create_app().test_client().get("/") for _ in range(2))
    assert first.text == first.headers[HEADER]
    assert second.text == second.headers[HEADER]
    assert first.text != second.text


def test_applications_have_the_managers_of_their_settings(sessions_api: SessionsAPI) -> None:
    """Two applications in one process have the APIs, keys and headers of their own configuration."""
    sessions = HLSessions()
    other_api = SessionsAPI()
    clients = {}
    for name, api in {"a": sessions_api, "b": other_api}.items():
        app = Flask(__name__)
        app.config.from_mapping(
            HL_SESSIONS_BASE_URL=api.base_url,
            HL_SESSIONS_API_KEY=f"key-of-{name}",
            HL_SESSIONS_RESPONSE_HEADER=f"X-{name}",
            HL_SESSIONS_ON_ERROR="raise",
            HL_SESSIONS_RETRIES=0,
            HL_SESSIONS_TIMEOUT=5,
            HL_SESSIONS_IDLE_TIMEOUT=None,
        )
        sessions.init_app(app)
        app.get("/")(read)
        clients[name] = app.test_client()
    try:
        for name, api in {"a": sessions_api, "b": other_api}.items():
            response = clients[name].get("/")
            assert response.headers[f"X-{name}"] == response.text
            assert api.posts == 1
            assert api.last.headers["X-API-KEY"] == f"key-of-{name}"
    finally:
        other_api.close()


def test_what_becomes_of_datapoints_is_a_setting_too(sessions_api: SessionsAPI) -> None:
    """An application names the project of datapoints, and redacts them."""
    app = Flask(__name__)
    app.config.from_mapping(
        HL_SESSIONS_BASE_URL=sessions_api.base_url,
        HL_SESSIONS_PROJECT="support",
        HL_SESSIONS_QUEUE_SIZE=100_000,
        HL_SESSIONS_SAMPLE=1,
        HL_SESSIONS_REDACT=lambda fields: {**fields, "output": "..."},
    )
    HLSessions(app)
    app.get("/")(lambda: log(source="answer", output="my number is 42"))
    sessions_api.answer = lambda request: (
        Answer(201, []) if request.target.endswith("/logs") else create_sessions(request)
    )
    reference_id = app.test_client().get("/").text
    assert flush(PATIENCE)
    (datapoint,) = json.loads(sessions_api.last.body)
    assert (datapoint["reference_id"], datapoint["project"]) == (reference_id, "support")
    assert (datapoint["source"], datapoint["output"]) == ("answer", "...")


def test_application_without_settings_uses_the_default_manager(sessions_api: SessionsAPI) -> None:
    """It is looked up at the request: ``configure`` may come after the extension."""
    app = Flask(__name__)
    app.config["HL_SESSIONS_RESPONSE_HEADER"] = HEADER
    HLSessions(app, response_header="X-Overridden")
    app.get("/")(read)
    with configure(sessions_api.base_url):
        response = app.test_client().get("/")
    assert response.headers[HEADER] == response.text
    assert sessions_api.posts == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HL_SESSIONS_BASE_URL", "ftp://127.0.0.1/v4"),
        ("HL_SESSIONS_BASE_URL", 42),
        ("HL_SESSIONS_API_KEY", KEY + " "),
        ("HL_SESSIONS_API_KEY", KEY.encode()),
        ("HL_SESSIONS_ON_ERROR", "ignore"),
        ("HL_SESSIONS_TIMEOUT", "5"),
        ("HL_SESSIONS_TIMEOUT", 0),
        ("HL_SESSIONS_RETRIES", -1),
        ("HL_SESSIONS_IDLE_TIMEOUT", -1),
        ("HL_SESSIONS_SAMPLE", 2),
        ("HL_SESSIONS_RESPONSE_HEADER", "X Session"),
        ("HL_SESSIONS_REPSONSE_HEADER", HEADER),
        ("HL_SESSIONS_APIKEY", KEY),
        ("HL_SESSIONS_MANAGER", None.__class__),
    ],
)
def test_wrong_setting_is_named_and_the_key_never_shown(name: str, value: Any) -> None:
    """The error and its whole traceback name the setting of ``app.config``, and hold no key."""
    app = Flask(__name__)
    app.config.from_mapping({"HL_SESSIONS_API_KEY": KEY, name: value})
    untouched = app.wsgi_app
    with pytest.raises(ConfigurationError) as caught:
        HLSessions(app)
    assert name in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert app.wsgi_app == untouched


def test_setting_that_is_none_is_not_given(manager: SessionManager) -> None:
    """It stands for the default, and so neither excludes a manager nor the header of the argument."""
    app = Flask(__name__)
    app.config.from_mapping(
        HL_SESSIONS_BASE_URL=None, HL_SESSIONS_TIMEOUT=None, HL_SESSIONS_RESPONSE_HEADER=None
    )
    HLSessions(app, manager, response_header=HEADER)
    app.get("/")(read)
    response = app.test_client().get("/")
    assert response.headers[HEADER] == response.text


def test_wrong_setting_is_told_like_a_wrong_argument() -> None:
    """Only the name differs, and the settings beside it stay out of the message."""
    app = Flask(__name__)
    app.config.from_mapping(HL_SESSIONS_TIMEOUT=0, HL_SESSIONS_API_KEY=KEY, HL_SESSIONS_RETRIES=0)
    with pytest.raises(ConfigurationError) as argument:
        SessionManager(timeout=0)
    with pytest.raises(ConfigurationError) as setting:
        HLSessions(app)
    assert str(setting.value) == str(argument.value).replace("timeout=0", "HL_SESSIONS_TIMEOUT=0")


def test_manager_and_settings_of_one_exclude_each_other(manager: SessionManager) -> None:
    """An application that was given a manager and has settings for one is told which."""
    app = Flask(__name__)
    app.config.from_mapping(HL_SESSIONS_TIMEOUT=1, HL_SESSIONS_API_KEY=KEY)
    with pytest.raises(ConfigurationError, match="HL_SESSIONS_API_KEY, HL_SESSIONS_TIMEOUT") as caught:
        HLSessions(app, manager)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"manager": "http://127.0.0.1"}, "manager"), ({"response_header": "X Session"}, "response_header")],
    ids=["manager", "response_header"],
)
def test_wrong_argument_is_named(options: dict[str, Any], named: str) -> None:
    """The error tells the argument, not a setting that is not there."""
    with pytest.raises(ConfigurationError) as caught:
        HLSessions(Flask(__name__), **options)
    assert str(caught.value).startswith(named)


def test_extension_is_found_at_the_application(app: Flask) -> None:
    """Like other extensions it is listed under its name."""
    assert isinstance(app.extensions["hl_sessions"], HLSessions)


def test_environment_variables_may_be_the_settings(
    monkeypatch: pytest.MonkeyPatch, sessions_api: SessionsAPI
) -> None:
    """The values of ``app.config.from_prefixed_env`` for ``FLASK_HL_SESSIONS_*`` are accepted."""
    for name, value in {"BASE_URL": sessions_api.base_url, "TIMEOUT": "2.5", "RETRIES": "0"}.items():
        monkeypatch.setenv(f"FLASK_HL_SESSIONS_{name}", value)
    app = Flask(__name__)
    app.config.from_prefixed_env()
    HLSessions(app)
    app.get("/")(read)
    assert SESSION_ID.fullmatch(app.test_client().get("/").text)
