"""The findings of the doctor for the applications of each framework, and the suggested line."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest

from hl_sessions import SessionManager
from hl_sessions.doctor.application import Application
from hl_sessions.doctor.findings import Finding, Mark
from hl_sessions.doctor.frameworks import framework_of
from hl_sessions.integrations import asgi, wsgi
from hl_sessions.integrations.keys import header

LINE_OF_HEADERS = "app.on_response_prepare.append(middleware.add_headers)"


def other(*_: Any) -> Any:
    """A middleware of another package."""


def findings(application: Any) -> list[Finding]:
    return list(Application(ModuleType("shop"), application).examine())


@pytest.fixture
def fastapi() -> Any:
    return pytest.importorskip("fastapi")


@pytest.fixture
def manager() -> SessionManager:
    return SessionManager("http://127.0.0.1:1/v4")


def application_with_scopes(fastapi: Any, where: str, scope: Any) -> Any:
    """Two routes; the first one, or both, in a scope."""
    dependencies = [fastapi.Depends(scope)]
    app = fastapi.FastAPI(dependencies=dependencies if where == "application" else [])
    router = fastapi.APIRouter(dependencies=dependencies if where == "router" else [])
    router.post("/chat", dependencies=dependencies if where == "route" else [])(other)
    outer = fastapi.APIRouter(prefix="/v1")
    outer.include_router(router)
    if where == "mounted":
        inner = fastapi.FastAPI(dependencies=dependencies)
        inner.include_router(outer)
        app.mount("/inner", inner)
    else:
        app.include_router(outer)
    app.get("/health")(other)
    return app


@pytest.mark.parametrize(
    ("where", "scoped"), [("application", 2), ("router", 1), ("route", 1), ("mounted", 1)]
)
def test_session_scope_opens_scopes_without_a_middleware(
    fastapi: Any, where: str, scoped: int, manager: SessionManager
) -> None:
    """Wherever it is asked for; its manager is one of the application's."""
    from hl_sessions.integrations.fastapi import session_scope

    scope = session_scope(manager, key=header("X-Chat-ID"))
    application = Application(ModuleType("shop"), application_with_scopes(fastapi, where, scope))
    text = f"session_scope() opens a scope for {scoped} of 2 routes"
    assert list(application.examine()) == [Finding(Mark.OK, text)]
    assert application.managers() == {manager: True}


def test_a_dependency_of_a_router_may_open_its_scope_in_vain(fastapi: Any, manager: SessionManager) -> None:
    """FastAPI keeps routers as they are, and runs a plain generator in threads."""

    def session() -> Iterator[object]:
        with manager.session() as session:
            yield session

    _, found = findings(application_with_scopes(fastapi, "router", session))
    assert found.text.startswith("the dependency session() opens its scope in a worker thread")


def server_of_grpc(*interceptors: Any) -> Any:
    grpc = pytest.importorskip("grpc")
    return grpc.server(ThreadPoolExecutor(1), interceptors=interceptors)


def test_the_interceptors_of_grpc_are_examined() -> None:
    """Those of a sync server show; of the others is told what to look for."""
    grpc: Any = pytest.importorskip("grpc")
    from hl_sessions.integrations.grpc import ServerInterceptor

    class Other(grpc.ServerInterceptor):  # type: ignore[misc] # its class is only known at run time
        def intercept_service(self, *_: Any) -> Any:
            """Do nothing."""

    async def make() -> Any:
        return grpc.aio.server()

    assert findings(server_of_grpc(ServerInterceptor(), Other())) == [
        Finding(Mark.OK, "ServerInterceptor stands outermost")
    ]
    (inner,) = findings(server_of_grpc(Other(), ServerInterceptor()))
    assert inner.mark is Mark.WARNING
    assert inner.remedy == "make it the first of interceptors"
    (missing,) = findings(server_of_grpc())
    assert missing.mark is Mark.WARNING
    assert missing.remedy == "grpc.server(..., interceptors=[ServerInterceptor()])"
    (hidden,) = findings(asyncio.run(make()))
    assert hidden == Finding(
        Mark.NOTE,
        "its middlewares cannot be inspected: check that this line has made it",
        "grpc.aio.server(interceptors=[AioServerInterceptor()])",
    )


def test_the_middleware_of_aiohttp_needs_its_parentheses() -> None:
    """And the signal, where it is to add headers."""
    web: Any = pytest.importorskip("aiohttp.web")
    from hl_sessions.integrations.aiohttp import HLSessionMiddleware

    (found,) = findings(web.Application(middlewares=[HLSessionMiddleware]))
    assert found.mark is Mark.WRONG
    assert found.remedy == "middlewares=[HLSessionMiddleware()]"
    sessions = HLSessionMiddleware(response_header="X-Session-ID")
    app = web.Application(middlewares=[sessions])
    (found,) = findings(app)
    assert found.mark is Mark.WRONG
    assert found.remedy == LINE_OF_HEADERS
    app.on_response_prepare.append(sessions.add_headers)
    assert findings(app) == [Finding(Mark.OK, "HLSessionMiddleware stands outermost")]


@pytest.mark.parametrize(
    ("middleware", "options", "problem"),
    [
        (asgi.HLSessionMiddleware, {"response_headr": "X-Session-ID"}, "unexpected keyword argument"),
        (
            asgi.HLSessionMiddleware,
            {"key": "chat"},
            "key must be callable, such as header('X-Chat-ID'), not str",
        ),
        (wsgi.HLSessionMiddleware, {}, "app is an application of ASGI"),
    ],
)
def test_a_middleware_that_starlette_cannot_make_is_wrong(
    middleware: Any, options: Any, problem: str
) -> None:
    """Starlette tells of it only when a server has started, also around the application."""
    app = of_starlette()
    app.add_middleware(middleware, **options)
    app.add_middleware(asgi.HLSessionMiddleware)
    for application in (app, asgi.HLSessionMiddleware(app)):
        (found,) = findings(application)
        assert found.mark is Mark.WRONG
        assert found.text.startswith("HLSessionMiddleware cannot be made, so all requests fail: ")
        assert problem in found.text


def of_starlette() -> Any:
    return pytest.importorskip("starlette.applications").Starlette()


def of_fastapi() -> Any:
    return pytest.importorskip("fastapi").FastAPI()


def of_flask() -> Any:
    return pytest.importorskip("flask").Flask("shop")


def of_quart() -> Any:
    return pytest.importorskip("quart").Quart("shop")


def of_aiohttp() -> Any:
    return pytest.importorskip("aiohttp.web").Application()


def of_sanic() -> Any:
    return pytest.importorskip("sanic").Sanic("doctor-of-sanic")


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (of_starlette, "app.add_middleware(HLSessionMiddleware)"),
        (of_fastapi, "app.add_middleware(HLSessionMiddleware), or for some routes Depends(session_scope())"),
        (of_flask, "HLSessions(app)"),
        (of_quart, "app.asgi_app = HLSessionMiddleware(app.asgi_app)"),
        (of_aiohttp, "web.Application(middlewares=[HLSessionMiddleware()])"),
        (
            of_sanic,
            'SessionSanic("name") in place of Sanic("name"), or on an ASGI server HLSessionMiddleware(app)',
        ),
        (lambda: other, "HLSessionMiddleware(app), of hl_sessions.integrations.asgi or .wsgi"),
    ],
)
def test_the_line_that_is_missing_is_that_of_the_framework(make: Callable[[], Any], line: str) -> None:
    """As its page in the guide has it."""
    (found,) = findings(make())
    assert found.mark is Mark.WARNING
    assert found.text.startswith("no middleware of hl_sessions is around it")
    assert found.remedy == line


def test_the_line_of_django_is_that_of_its_settings() -> None:
    """Under both gateways."""
    for kind in (
        pytest.importorskip("django.core.handlers.asgi").ASGIHandler,
        pytest.importorskip("django.core.handlers.wsgi").WSGIHandler,
    ):
        framework = framework_of(kind.__new__(kind))  # as making one needs settings
        assert (
            framework.line == '"hl_sessions.integrations.django.HLSessionMiddleware", the first of MIDDLEWARE'
        )
        assert framework.first == "make it the first of MIDDLEWARE"


def test_how_to_make_it_outermost_is_that_of_what_stands_around() -> None:
    """The list of Starlette does not help where something stands around Starlette."""
    starlette: Any = pytest.importorskip("starlette.middleware.gzip")
    app = of_starlette()
    app.add_middleware(asgi.HLSessionMiddleware)
    (found,) = findings(starlette.GZipMiddleware(app))
    assert found.remedy == "put the middleware of hl_sessions around all of them"
    app.add_middleware(starlette.GZipMiddleware)
    (found,) = findings(app)
    assert found.remedy == "add the middleware of hl_sessions last, or make it the first of middleware=[...]"


def with_options_of_starlette(manager: SessionManager, **options: Any) -> Any:
    app = of_starlette()
    app.add_middleware(asgi.HLSessionMiddleware, manager=manager, **options)
    return app


@pytest.mark.parametrize(
    "make",
    [
        lambda manager, **options: asgi.HLSessionMiddleware(other, manager, **options),
        lambda manager, **options: wsgi.HLSessionMiddleware(other, manager, **options),
        with_options_of_starlette,
    ],
)
def test_which_managers_have_conversations_is_known(make: Any, manager: SessionManager) -> None:
    """Those of a middleware that finds them."""
    key = header("X-Chat-ID")
    assert Application(ModuleType("shop"), make(manager, key=key)).managers() == {manager: True}
    assert Application(ModuleType("shop"), make(manager)).managers() == {manager: False}
    assert Application(ModuleType("shop"), make(manager, cookie=None)).managers() == {manager: False}
