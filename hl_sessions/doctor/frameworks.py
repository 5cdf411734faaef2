"""The line of code for each framework, and the checks of the middlewares in its list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hl_sessions.doctor.findings import Finding, Mark
from hl_sessions.doctor.layers import layer_of
from hl_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OTHER", "Framework", "examine_middlewares", "framework_of"]


class Framework(NamedTuple):
    """The use of the middleware in a framework.

    Attributes:
        module: the module of the class of its applications.
        line: the line of code to write.
        first: the way to make the middleware outermost.
        is_readable: whether the middlewares of an application can be inspected.
    """

    module: str
    line: str
    first: str
    is_readable: bool = True


_OF_STARLETTE: Final = "add the middleware of hl_sessions last, or make it the first of middleware=[...]"
_AROUND: Final = "put the middleware of hl_sessions around all of them"

_AIOHTTP: Final = Framework(
    "aiohttp.web_app",
    "web.Application(middlewares=[HLSessionMiddleware()])",
    "make it the first of middlewares",
)
#: A framework that is built on another one comes before that.
FRAMEWORKS: Final = (
    Framework(
        "fastapi.applications",
        "app.add_middleware(HLSessionMiddleware), or for some routes Depends(session_scope())",
        _OF_STARLETTE,
    ),
    Framework("starlette.applications", "app.add_middleware(HLSessionMiddleware)", _OF_STARLETTE),
    Framework(
        "quart.app",
        "app.asgi_app = HLSessionMiddleware(app.asgi_app)",
        "wrap app.asgi_app in it after everything else",
    ),
    Framework("flask.app", "HLSessions(app)", "call HLSessions(app) after other wrappers of app.wsgi_app"),
    Framework(
        "django.core.handlers",
        '"hl_sessions.integrations.django.HLSessionMiddleware", the first of MIDDLEWARE',
        "make it the first of MIDDLEWARE",
    ),
    _AIOHTTP,
    Framework(
        "sanic.app",
        'SessionSanic("name") in place of Sanic("name"), or on an ASGI server HLSessionMiddleware(app)',
        _AROUND,
    ),
    Framework(
        "grpc.aio._server",
        "grpc.aio.server(interceptors=[AioServerInterceptor()])",
        "make it the first of interceptors",
        is_readable=False,
    ),
    Framework(
        "grpc._server",
        "grpc.server(..., interceptors=[ServerInterceptor()])",
        "make it the first of interceptors",
    ),
)
OTHER: Final = Framework(
    "",
    "HLSessionMiddleware(app), of hl_sessions.integrations.asgi or .wsgi",
    _AROUND,
)


def framework_of(application: Any) -> Framework:
    """Return the framework of an application, ``OTHER`` if it is unknown or wrapped."""
    modules = [f"{kind.__module__}." for kind in type(application).__mro__]
    return next(
        (
            framework
            for framework in FRAMEWORKS
            if any(module.startswith(f"{framework.module}.") for module in modules)
        ),
        OTHER,
    )


def examine_middlewares(application: Any) -> Iterator[Finding]:
    """Yield what is wrong with our middlewares in the list of a framework, except their place."""
    if framework_of(application) is _AIOHTTP:
        yield from _examine_aiohttp(application)
    elif "user_middleware" in getattr(application, "__dict__", {}):
        yield from _examine_starlette(application)


def _examine_starlette(application: Any) -> Iterator[Finding]:
    # Starlette makes them when the server starts, and a server that starts in spite of an error answers 500.
    for middleware in application.user_middleware:
        layer = layer_of(middleware.cls)
        if not layer.is_own:
            continue
        try:
            middleware.cls(application, *middleware.args, **middleware.kwargs)
        except (ConfigurationError, TypeError) as error:
            yield Finding(Mark.WRONG, f"{layer.name} cannot be made, so all requests fail: {error}")


def _examine_aiohttp(application: Any) -> Iterator[Finding]:
    for middleware in application.middlewares:
        layer = layer_of(middleware)
        if not layer.is_own:
            continue
        if isinstance(middleware, type):
            yield Finding(
                Mark.WRONG,
                f"{layer.name} is in middlewares without its parentheses: no server starts with it",
                f"middlewares=[{layer.name}()]",
            )
        elif (
            getattr(middleware, "_adds_headers", False)
            and getattr(middleware, "add_headers", None) not in application.on_response_prepare
        ):
            yield Finding(
                Mark.WRONG,
                "response_header and cookie have no effect: aiohttp does not ask for the headers",
                "app.on_response_prepare.append(middleware.add_headers)",
            )
