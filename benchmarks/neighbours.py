"""Other libraries, as they are published; those that are not installed are left out."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.measure import own

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    ASGIApplication = Callable[[Any, Any, Any], Any]
    WSGIApplication = Callable[[Any, Any], Any]

__all__ = [
    "ASGI_MIDDLEWARE",
    "DECORATORS",
    "DISTRIBUTIONS",
    "OPENTELEMETRY",
    "WSGI_MIDDLEWARE",
    "around_function",
    "get_baggage",
    "installed",
]

Function = TypeVar("Function", bound="Callable[..., object]")
Made = TypeVar("Made")

DISTRIBUTIONS = (
    "asgi-correlation-id",
    "starlette-context",
    "opentelemetry-api",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-instrumentation-asgi",
    "opentelemetry-instrumentation-wsgi",
    "opentelemetry-processor-baggage",
    "opentelemetry-sdk",
    "openinference-instrumentation",
    "langfuse",
)
OPENTELEMETRY = "OpenTelemetry"


def installed(makers: Mapping[str, Callable[[], Made]]) -> dict[str, Made]:
    """Return the result of each factory, without those whose library is not installed."""
    made: dict[str, Made] = {}
    for name, make in makers.items():
        with suppress(ImportError):
            made[name] = make()
    return made


def around_function(wrappers: Mapping[str, Callable[[Any], Any]], function: Function) -> dict[str, Any]:
    """Return the result of each wrapper for a copy of ``function``, without those that are not installed."""
    return installed({name: partial(wrap, own(function)) for name, wrap in wrappers.items()})


def _asgi_correlation_id(app: ASGIApplication) -> Any:
    return resolve_name("asgi_correlation_id:CorrelationIdMiddleware")(app)


def _starlette_context(app: ASGIApplication) -> Any:
    return resolve_name("starlette_context.middleware:RawContextMiddleware")(app)


def _tracing() -> dict[str, Any]:
    """Spans are made, as otherwise there is nothing to measure, but go nowhere."""
    return {"tracer_provider": resolve_name("opentelemetry.sdk.trace:TracerProvider")()}


def _opentelemetry_asgi(app: ASGIApplication) -> Any:
    return resolve_name("opentelemetry.instrumentation.asgi:OpenTelemetryMiddleware")(app, **_tracing())


def _opentelemetry_wsgi(app: WSGIApplication) -> Any:
    return resolve_name("opentelemetry.instrumentation.wsgi:OpenTelemetryMiddleware")(app, **_tracing())


def get_baggage() -> Any:
    """Yield a reader of the session ID in the baggage of OpenTelemetry, after it was put there."""
    read = resolve_name("opentelemetry.baggage:get_baggage")
    set_baggage = resolve_name("opentelemetry.baggage:set_baggage")
    attach = resolve_name("opentelemetry.context:attach")
    attach(set_baggage("session.id", "sesh_1"))
    return lambda: read("session.id")


def _openinference(function: Any) -> Any:
    return resolve_name("openinference.instrumentation:using_session")(session_id="sesh_1")(function)


def _langfuse(function: Any) -> Any:
    return resolve_name("langfuse:propagate_attributes")(session_id="sesh_1")(function)


ASGI_MIDDLEWARE = {
    "asgi-correlation-id": _asgi_correlation_id,
    "starlette-context": _starlette_context,
    OPENTELEMETRY: _opentelemetry_asgi,
}
WSGI_MIDDLEWARE = {OPENTELEMETRY: _opentelemetry_wsgi}
DECORATORS = {"openinference": _openinference, "langfuse": _langfuse}
