"""The findings of the doctor in applications, libraries and answers of all kinds."""

import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hl_sessions import SessionManager, configure
from hl_sessions.doctor import api, libraries
from hl_sessions.doctor.api import base_url_of, examine_api
from hl_sessions.doctor.application import Application, ApplicationError, load
from hl_sessions.doctor.command import doctor
from hl_sessions.doctor.crossings import CROSSINGS, Crossing
from hl_sessions.doctor.findings import Finding, Mark
from hl_sessions.doctor.libraries import examine_integrations, examine_libraries
from hl_sessions.integrations import asgi, wsgi
from hl_sessions.stores import SQLiteStore
from tests.sessions_api import Answer, SessionsAPI
from tests.waiting import PATIENCE


class Wrapper:
    """A middleware of another package."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, *_: Any) -> Any:
        """Do nothing."""


class SlottedWrapper:
    """One without a dictionary of attributes, such as that of Sentry."""

    __slots__ = ("app",)
    __init__, __call__ = Wrapper.__init__, Wrapper.__call__


def plain(*_: Any) -> Any:
    """An application without a framework."""


def starlette(*, ours_last: bool) -> Any:
    from starlette.applications import Starlette
    from starlette.middleware.gzip import GZipMiddleware

    from hl_sessions.integrations.starlette import HLSessionMiddleware

    app = Starlette()
    middlewares: list[Any] = [GZipMiddleware, HLSessionMiddleware]
    for middleware in middlewares if ours_last else reversed(middlewares):
        app.add_middleware(middleware)
    return app


def flask(*, ours_last: bool) -> Any:
    from flask import Flask

    from hl_sessions.integrations.flask import HLSessions

    app: Any = Flask("shop")
    if not ours_last:
        HLSessions(app)
    app.wsgi_app = Wrapper(app.wsgi_app)
    if ours_last:
        HLSessions(app)
    return app


def aiohttp(*, ours_first: bool) -> Any:
    web: Any = pytest.importorskip("aiohttp.web")

    from hl_sessions.integrations.aiohttp import HLSessionMiddleware

    other, ours = Wrapper(plain), HLSessionMiddleware()
    return web.Application(middlewares=[ours, other] if ours_first else [other, ours])


@pytest.mark.parametrize(
    ("make", "around"),
    [
        (lambda: asgi.HLSessionMiddleware(plain), ""),
        (lambda: asgi.HLSessionMiddleware(Wrapper(plain)), ""),
        (lambda: Wrapper(Wrapper(wsgi.HLSessionMiddleware(plain))), "Wrapper, Wrapper"),
        (lambda: SlottedWrapper(asgi.HLSessionMiddleware(plain)), "SlottedWrapper"),
        (lambda: starlette(ours_last=True), ""),
        (lambda: starlette(ours_last=False), "GZipMiddleware"),
        (lambda: asgi.HLSessionMiddleware(starlette(ours_last=False)), ""),
        (lambda: flask(ours_last=True), ""),
        (lambda: flask(ours_last=False), "Wrapper"),
        (lambda: aiohttp(ours_first=True), ""),
        (lambda: aiohttp(ours_first=False), "Wrapper"),
    ],
)
def test_what_stands_around_the_middleware_is_named(make: Callable[[], Any], around: str) -> None:
    """In lists and layers of frameworks, and in wrappers of all sorts."""
    (finding,) = Application(ModuleType("shop"), make()).examine()
    if around:
        assert finding.mark is Mark.WARNING
        assert finding.text.startswith(f"outside of HLSessionMiddleware is {around}: ")
    else:
        assert finding == Finding(Mark.OK, "HLSessionMiddleware stands outermost")


def test_an_adapter_that_passes_the_session_on_may_stand_around() -> None:
    """That of a2wsgi does, in both directions."""
    a2wsgi = pytest.importorskip("a2wsgi")
    app = a2wsgi.WSGIMiddleware(wsgi.HLSessionMiddleware(plain))
    (finding,) = Application(ModuleType("shop"), app).examine()
    assert finding.mark is Mark.OK


@pytest.mark.parametrize(("application", "mark"), [(plain, Mark.WARNING), (object(), Mark.NOTE)])
def test_an_application_without_a_middleware_is_no_error(application: Any, mark: Mark) -> None:
    """Decorators may open its scopes, and there are others than of ASGI and WSGI."""
    assert [finding.mark for finding in Application(ModuleType("shop"), application).examine()] == [mark]


def test_an_application_may_have_a_method_for_its_routes() -> None:
    """Only those of FastAPI have dependencies."""

    class Routed(Wrapper):
        def routes(self) -> list[str]:
            return ["/"]

    (finding,) = Application(ModuleType("shop"), Routed(wsgi.HLSessionMiddleware(plain))).examine()
    assert finding.mark is Mark.WARNING


def test_a_dependency_may_have_been_given_arguments() -> None:
    """It is told of by the name of its function."""
    fastapi: Any = pytest.importorskip("fastapi")
    manager = SessionManager("http://127.0.0.1:1/v4")

    def session(key: str) -> Iterator[object]:
        with manager.session(key=key) as session:
            yield session

    app = fastapi.FastAPI(dependencies=[fastapi.Depends(partial(session, "chat-42"))])
    app.get("/")(plain)
    _, finding = Application(ModuleType("shop"), app).examine()
    assert "the dependency session() opens its scope in a worker thread" in finding.text


def test_the_manager_of_a_middleware_of_starlette_may_have_no_name() -> None:
    """It is the first argument."""
    starlette: Any = pytest.importorskip("starlette.applications")
    from hl_sessions.integrations.starlette import HLSessionMiddleware

    app = starlette.Starlette()
    manager = SessionManager("http://127.0.0.1:1/v4")
    app.add_middleware(HLSessionMiddleware, manager)
    assert manager in Application(ModuleType("shop"), app).managers()


def test_the_manager_of_sanic_is_found() -> None:
    """Sanic has an attribute of the name that middlewares have it under."""
    pytest.importorskip("sanic")
    from hl_sessions.integrations.sanic import SessionSanic

    manager = SessionManager("http://127.0.0.1:1/v4")
    application = Application(ModuleType("shop"), SessionSanic("doctor", manager=manager))
    assert manager in application.managers()


def test_all_managers_of_an_application_are_found() -> None:
    """Those of its middleware, of its module, and of ``configure``, each once."""
    first, second, third = (SessionManager(f"http://127.0.0.1:{port}/v4") for port in (1, 2, 3))
    module: Any = ModuleType("shop")
    module.one, module.other = first, second
    application = Application(module, asgi.HLSessionMiddleware(plain, third))
    configure("http://127.0.0.1:4/v4")
    urls = [base_url_of(manager) for manager in application.managers()]
    assert urls == [f"http://127.0.0.1:{port}/v4" for port in (3, 1, 2, 4)]


@pytest.mark.parametrize(
    ("name", "code", "problem"),
    [
        (
            "doctor_1",
            "app = 1",
            "doctor_1 must be the name of a module and of the application in it: module:app",
        ),
        ("doctor_2:app", "other = 1", "AttributeError: module 'doctor_2' has no attribute 'app'"),
        ("doctor_3:app", "app = \n", "SyntaxError: invalid syntax (doctor_3.py, line 1)"),
        ("doctor_4:app", "import sys\nsys.exit('no')", "SystemExit: no (doctor_4.py, line 2)"),
        (
            "doctor_5:app",
            "import nowhere",
            "ModuleNotFoundError: No module named 'nowhere' (doctor_5.py, line 1)",
        ),
        (
            "doctor_8:app",
            (
                "from hl_sessions.integrations.wsgi import HLSessionMiddleware\n"
                "async def serve(scope, receive, send): ...\n"
                "app = HLSessionMiddleware(serve)"
            ),
            "HLSessionMiddleware of hl_sessions.integrations.asgi, not of .wsgi (doctor_8.py, line 3)",
        ),
    ],
)
def test_why_an_application_cannot_be_imported_is_one_line(
    name: str, code: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the place in its own code, if it is there."""
    (tmp_path / f"{name.partition(':')[0]}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # which takes back what is added
    with pytest.raises(ApplicationError) as caught:
        load(name)
    assert str(caught.value).endswith(problem)


def test_a_wrong_environment_is_found_also_where_an_application_starts_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A middleware of ASGI looks at it when the server starts, and the doctor starts none."""
    code = "from hl_sessions.integrations.asgi import HLSessionMiddleware\napp = HLSessionMiddleware(print)"
    (tmp_path / "doctor_7.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HL_SESSIONS_BASE_URL", "ftp://127.0.0.1")
    assert doctor(["doctor_7:app"]) == 1
    assert "wrong   HL_SESSIONS_BASE_URL='ftp://127.0.0.1' is not an http" in capsys.readouterr().out


FACTORIES = """
def plain(environ, start_response): ...

def create_app(config=None, **settings):
    from hl_sessions.integrations.wsgi import HLSessionMiddleware
    return HLSessionMiddleware(plain)

async def acreate_app():
    return create_app()

def broken():
    raise ValueError("no")
"""


def test_what_makes_an_application_is_called_where_it_has_parentheses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by gunicorn; without them, as for uvicorn, the doctor says how to write it."""
    (tmp_path / "doctor_6.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("create_app", "acreate_app"):
        assert list(load(f"doctor_6:{name}()").examine()) == [
            Finding(Mark.OK, "HLSessionMiddleware stands outermost")
        ]
        (found,) = load(f"doctor_6:{name}").examine()
        assert found.text.startswith(f"{name}() takes no arguments")
        assert found.remedy == f"hl-sessions doctor 'doctor_6:{name}()'"
    (found,) = load("doctor_6:plain").examine()
    assert "no middleware of hl_sessions is around it" in found.text
    with pytest.raises(ApplicationError, match=r"ValueError: no \(doctor_6.py, line 12\)"):
        load("doctor_6:broken()")


def test_conversations_of_one_process_are_told_of(
    sessions_api: SessionsAPI, make_manager: Callable[..., SessionManager], tmp_path: Path
) -> None:
    """Where a middleware finds conversations, and each process has a store of its own."""
    sessions_api.answer = lambda _: Answer(200, {})
    *_, note = examine_api(make_manager(), has_conversations=True)
    assert note.mark is Mark.NOTE
    assert "SQLiteStore" in note.remedy
    assert "RedisStore" in note.remedy
    shared = make_manager(store=SQLiteStore(tmp_path / "chats.sqlite3"))
    *_, kept = examine_api(shared, has_conversations=True)
    assert kept.text.startswith("conversations are kept in SQLiteStore(")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(404, {"detail": "Not Found"}), "is no API: the sessions API answered 404"),
        (Answer(200, b"<html>"), "is no API: the sessions API answered 200 with a body that is not JSON"),
        (Answer(500, {"detail": "Internal Server Error"}), "fails: the sessions API answered 500"),
        (Answer(403, {"detail": "This call has a header"}), "refuses calls without a key: 403 This call has"),
    ],
)
def test_an_answer_that_is_wrong_is_told(
    answer: Answer, text: str, sessions_api: SessionsAPI, make_manager: Callable[..., SessionManager]
) -> None:
    """Each in its own words, and with something to do."""
    sessions_api.answer = lambda _: answer
    finding = next(examine_api(make_manager()))
    assert finding.mark is Mark.WRONG
    assert text in finding.text
    assert finding.remedy


def test_no_session_is_made_on_a_server_of_others(
    sessions_api: SessionsAPI, make_manager: Callable[..., SessionManager]
) -> None:
    """Where it cannot be told without making one, whether a key may make sessions is not tried."""
    sessions_api.answer = lambda request: (
        Answer(200, {}) if "/projects" in request.target else Answer(404, {"detail": "Not Found"})
    )
    _, _, finding, _ = examine_api(make_manager())
    assert finding == Finding(Mark.NOTE, "POST /sessions was not tried: this server would make a session")
    assert sessions_api.posts == 0


@pytest.mark.parametrize(
    ("answer", "mark", "text"),
    [
        (
            Answer(500, {"detail": "Internal Server Error"}),
            Mark.WRONG,
            "POST /sessions fails: the sessions API",
        ),
        (Answer(201, {"id": "sesh_1"}), Mark.OK, "POST /sessions is allowed without a key; one was made"),
    ],
)
def test_a_server_that_takes_a_malformed_idempotency_key_is_told(
    answer: Answer,
    mark: Mark,
    text: str,
    sessions_api: SessionsAPI,
    make_manager: Callable[..., SessionManager],
) -> None:
    """It should have refused it; what came of it is said as it is."""
    sessions_api.answer = lambda request: answer if request.method == "POST" else Answer(200, {})
    _, _, finding, _ = examine_api(make_manager())
    assert finding.mark is mark
    assert finding.text.startswith(text)


def test_an_api_that_does_not_answer_in_time_is_wrong(
    sessions_api: SessionsAPI, make_manager: Callable[..., SessionManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is one for all calls."""
    over = threading.Event()
    sessions_api.answer = lambda _: Answer(200 if over.wait(PATIENCE) else 500)
    monkeypatch.setattr(api, "TIMEOUT", 0.1)
    finding = next(examine_api(make_manager()))
    over.set()
    assert finding.mark is Mark.WRONG
    assert "does not answer: " in finding.text


@pytest.mark.parametrize(
    ("version", "concerned"),
    [
        ("1.30.0", False),
        ("2.14.7", True),
        ("3.4.11", True),
        ("4.2.3", False),
        ("4", False),
        ("unknown", True),
    ],
)
def test_a_crossing_is_one_of_certain_versions(version: str, *, concerned: bool) -> None:
    """From one major version to another."""
    crossing = Crossing("library", "library", "", "", "", first=2, last=3)
    assert crossing.concerns(version) is concerned


def test_without_an_application_what_is_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be unused, so only the session of another request is worth a warning."""
    versions = {"mcp": "1.30.0", "apscheduler": "3.11.3", "dspy": "3.4.1", "fastmcp": "4.2.3"}
    monkeypatch.setattr(libraries, "_version", versions.get)
    found = [(finding.mark, finding.text.partition(":")[0]) for finding in examine_libraries(None)]
    assert found == [
        (Mark.WARNING, "mcp 1.30.0"),
        (Mark.WARNING, "apscheduler 3.11.3"),
        (Mark.NOTE, "dspy 3.4.1"),
    ]
    monkeypatch.setattr(libraries, "_version", {}.get)
    assert [finding.mark for finding in examine_libraries(None)] == [Mark.OK]


@pytest.mark.parametrize("has_middleware", [True, False])
def test_an_adapter_is_told_of_if_a_middleware_may_be_inside(
    monkeypatch: pytest.MonkeyPatch, *, has_middleware: bool
) -> None:
    """The guide says to put the other middleware around it."""
    monkeypatch.setattr(libraries, "_version", {"asgiref": "3.13.0"}.get)
    monkeypatch.setitem(sys.modules, "asgiref.wsgi", ModuleType("asgiref.wsgi"))
    if not has_middleware:
        monkeypatch.delitem(sys.modules, "hl_sessions.integrations.wsgi")
    (finding,) = examine_libraries("shop:app")
    assert (finding.mark is Mark.WARNING) is has_middleware


def test_an_integration_of_opentelemetry_needs_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many libraries bring only the API."""
    for distribution, is_usable in (("opentelemetry-api", False), ("opentelemetry-sdk", True)):
        monkeypatch.setattr(libraries, "_version", {distribution: "1.45.1"}.get)
        found = examine_integrations("shop:app")
        assert any("opentelemetry" in finding.text for finding in found) is is_usable


def test_the_table_reads_well() -> None:
    """What happens and what to do are parts of a line, which ends with a page of the documentation."""
    for crossing in CROSSINGS:
        assert crossing.page.startswith("docs/")
        assert not {crossing.happens[-1], crossing.remedy[-1]} & set(".!")
        assert crossing.last is None or crossing.first <= crossing.last
