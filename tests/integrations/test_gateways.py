"""The middlewares of ASGI and WSGI refuse the applications of each other, and no others."""

from collections.abc import Awaitable
from functools import partial, wraps
from typing import Any

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.testclient import TestClient

from hl_sessions import ConfigurationError, SessionManager
from hl_sessions.integrations import asgi, starlette, wsgi


def wsgi_function(environ: Any, start_response: Any) -> Any:
    """An application of WSGI."""


async def asgi_function(scope: Any, receive: Any, send: Any) -> None:
    """An application of ASGI."""


def returning_an_awaitable(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
    """An application of ASGI that is no coroutine function."""
    return asgi_function(scope, receive, send)


@wraps(wsgi_function)
async def adapted(scope: Any, receive: Any, send: Any) -> None:
    """An application of ASGI with the signature of one of WSGI."""


def of_either(*_: Any) -> Any:
    """An application of both."""


class Iterated:
    """An application of WSGI whose instances are the responses."""

    def __init__(self, environ: Any, start_response: Any) -> None: ...


class Static:
    """An application of ASGI that has no use for itself."""

    @staticmethod
    async def __call__(scope: Any, receive: Any, send: Any) -> None: ...


FOR_WSGI = [Flask("shop"), Flask("shop").wsgi_app, wsgi_function]
FOR_ASGI = [Starlette(), asgi_function, returning_an_awaitable, adapted]
UNCERTAIN_FOR_WSGI = [Iterated, partial(wsgi_function), of_either]
UNCERTAIN_FOR_ASGI = [Static(), partial(asgi_function), of_either]


@pytest.mark.parametrize("middleware", [asgi.HLSessionMiddleware, starlette.HLSessionMiddleware])
def test_the_middleware_of_asgi_takes_no_application_of_wsgi(
    middleware: Any, manager: SessionManager
) -> None:
    """It names the module for that."""
    for app in (*FOR_WSGI, wsgi.HLSessionMiddleware(wsgi_function, manager)):
        with pytest.raises(ConfigurationError, match=r"app is an application of WSGI: .*integrations\.wsgi"):
            middleware(app, manager)
    for app in (*FOR_ASGI, *UNCERTAIN_FOR_ASGI, middleware(asgi_function, manager)):
        middleware(app, manager)


def test_the_middleware_of_wsgi_takes_no_application_of_asgi(manager: SessionManager) -> None:
    """It names the module for that, also where the framework wraps the application."""
    for app in (*FOR_ASGI, asgi.HLSessionMiddleware(asgi_function, manager)):
        with pytest.raises(ConfigurationError, match=r"app is an application of ASGI: .*integrations\.asgi"):
            wsgi.HLSessionMiddleware(app, manager)
    for app in (*FOR_WSGI, *UNCERTAIN_FOR_WSGI, wsgi.HLSessionMiddleware(wsgi_function, manager)):
        wsgi.HLSessionMiddleware(app, manager)
    wrong: Any = wsgi.HLSessionMiddleware
    framework = Starlette()
    framework.add_middleware(wrong, manager)
    with pytest.raises(ConfigurationError, match="app is an application of ASGI"):
        TestClient(framework).get("/")
