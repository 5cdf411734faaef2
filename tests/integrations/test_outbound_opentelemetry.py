"""The session travels beside all that OpenTelemetry writes into its header, in every order of set-up."""

import asyncio
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import httpx
import httpx2
import pytest
import requests

from hl_sessions import SessionManager
from hl_sessions.carrying import SharedSecret
from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations import httpx as httpx_integration
from hl_sessions.integrations import requests as requests_integration
from tests.sessions_api import Answer, Request, SessionsAPI

pytest.importorskip("aiohttp")
pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("opentelemetry.instrumentation.httpx")

import aiohttp
from opentelemetry import baggage, context
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor, create_trace_config
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from hl_sessions.integrations import aiohttp as aiohttp_integration

SECRET = SharedSecret("a secret of two services")
FOREIGN = "sesh_of_the_caller"
PROVIDER = TracerProvider(shutdown_on_exit=False)


async def aiohttp_client(*, is_traced: bool = False) -> aiohttp.ClientSession:
    configs = [create_trace_config(tracer_provider=PROVIDER)] if is_traced else []
    return aiohttp.ClientSession(trace_configs=configs)


class Library(NamedTuple):
    """An HTTP client, what lets it propagate, and what instruments it."""

    make: Callable[..., Any]
    propagate: Callable[..., Any]
    instrumentor: Any


def httpx_library(client: Any, instrumentor: Any) -> Library:
    without_certificates = partial(client, verify=False)  # they take long to load
    return Library(without_certificates, httpx_integration.propagate, instrumentor)


HTTPX = {
    "httpx": httpx_library(httpx.Client, HTTPXClientInstrumentor),
    "httpx-async": httpx_library(httpx.AsyncClient, HTTPXClientInstrumentor),
    "httpx2": httpx_library(httpx2.Client, HTTPX2ClientInstrumentor),
    "httpx2-async": httpx_library(httpx2.AsyncClient, HTTPX2ClientInstrumentor),
}
LIBRARIES = {
    "requests": Library(requests.Session, requests_integration.propagate, RequestsInstrumentor),
    "aiohttp": Library(aiohttp_client, aiohttp_integration.propagate, AioHttpClientInstrumentor),
    **HTTPX,
}
ORDERS: list[tuple[list[str], list[str]]] = [
    ([*LIBRARIES], ["instrument", "make", "propagate"]),
    (["requests", *HTTPX], ["make", "instrument", "propagate"]),
    (["requests", *HTTPX], ["make", "propagate", "instrument"]),
    ([*HTTPX], ["make", "instrument_client", "propagate"]),
    ([*HTTPX], ["make", "propagate", "instrument_client"]),
    ([*HTTPX], ["make", "instrument_client", "propagate", "instrument"]),
    ([*HTTPX], ["instrument", "make", "propagate", "instrument_client"]),
    (["aiohttp"], ["make_traced", "propagate"]),
]
in_every_order = pytest.mark.parametrize(
    ("name", "order"),
    [pytest.param(name, order, id=f"{name}-{'-'.join(order)}") for names, order in ORDERS for name in names],
)


class Caller:
    """A client that was set up in some order, whichever it is."""

    def __init__(self, library: Library, order: list[str], host: str, leaving: ExitStack) -> None:
        self.client: Any = None
        self._loop = asyncio.new_event_loop()
        leaving.callback(self._loop.close)
        for step in order:
            if step == "instrument":
                library.instrumentor().instrument(tracer_provider=PROVIDER)
                leaving.callback(library.instrumentor().uninstrument)
            elif step == "instrument_client":
                library.instrumentor.instrument_client(self.client, tracer_provider=PROVIDER)
            elif step == "propagate":
                library.propagate(self.client, hosts=[host], secret=SECRET)
            elif step == "through":
                library.propagate(self.client, hosts=[host], secret=SECRET, through="opentelemetry")
            else:
                self.client = self.run(library.make(**({"is_traced": True} if step == "make_traced" else {})))
                leaving.callback(self.close)

    def run(self, result: Any) -> Any:
        return self._loop.run_until_complete(result) if inspect.isawaitable(result) else result

    def get(self, host: str) -> None:
        name = "follow_redirects" if hasattr(self.client, "follow_redirects") else "allow_redirects"
        answer = self.run(self.client.get(f"http://{host}/", **{name: True}))
        if isinstance(answer, aiohttp.ClientResponse):
            self.run(answer.read())

    def close(self) -> None:
        self.run(self.client.aclose() if hasattr(self.client, "aclose") else self.client.close())


@pytest.fixture
def leaving() -> Iterator[ExitStack]:
    with ExitStack() as leaving:
        yield leaving


@pytest.fixture
def services(leaving: ExitStack) -> tuple[SessionsAPI, SessionsAPI]:
    """One that is listed, and one that is not."""
    services = SessionsAPI(), SessionsAPI()
    for service in services:
        service.answer = lambda _: Answer(200, {})
        leaving.callback(service.close)
    return services


def host_of(service: SessionsAPI) -> str:
    return service.base_url.removesuffix("/v4").removeprefix("http://")


@contextmanager
def opentelemetry_baggage(members: dict[str, object]) -> Iterator[None]:
    """What the application has put there, or a request that it serves has brought."""
    current = context.get_current()
    for name, value in members.items():
        current = baggage.set_baggage(name, value, current)
    token = context.attach(current)
    yield
    context.detach(token)


def members(request: Request) -> list[str]:
    return sorted(member for header in request.headers.get_all("baggage", []) for member in header.split(","))


#: Nothing, what pydantic-ai and others set, what a request has brought whose session is not ours, and what an
#: application has set that is no text.
BAGGAGE: tuple[dict[str, object], ...] = (
    {},
    {"gen_ai.conversation.id": "conv-1"},
    {"a": "1", "session.id": FOREIGN},
    {"session.id": 7},
)


@in_every_order
def test_the_session_travels_beside_the_baggage_of_opentelemetry(
    name: str,
    order: list[str],
    manager: SessionManager,
    services: tuple[SessionsAPI, SessionsAPI],
    leaving: ExitStack,
) -> None:
    """Exactly once, and signed; no other host gets anything from us, by a redirected call neither."""
    listed, other = services
    listed.answer = lambda _: Answer(307, {}, {"Location": f"http://{host_of(other)}/"})
    caller = Caller(LIBRARIES[name], order, host_of(listed), leaving)
    for others in BAGGAGE:
        with opentelemetry_baggage(others), manager.session() as session:
            caller.get(host_of(listed))
            session_id = session.peek()
            caller.get(host_of(other))
        assert session_id is not None
        ours = {**others, "session.id": session_id}
        assert members(listed.last) == sorted(f"{key}={value}" for key, value in ours.items())
        assert SECRET.verify(session_id, listed.last.headers["X-Session-Signature"], "127.0.0.1")
        for request in other.requests[-2:]:
            assert members(request) == [f"{key}={value}" for key, value in others.items()]
            assert request.headers["X-Session-Signature"] is None
    assert None not in {request.headers["traceparent"] for request in (*listed.requests, *other.requests)}


@in_every_order
def test_through_opentelemetry_it_goes_to_every_host(
    name: str,
    order: list[str],
    manager: SessionManager,
    services: tuple[SessionsAPI, SessionsAPI],
    leaving: ExitStack,
) -> None:
    """Once, beside other baggage; signed for listed ones only; what the application has there stays."""
    listed, other = services
    steps = ["through" if step == "propagate" else step for step in order]
    caller = Caller(LIBRARIES[name], steps, host_of(listed), leaving)
    with opentelemetry_baggage({"a": "1", "session.id": FOREIGN}):
        with manager.session() as session:
            for service in services:
                caller.get(host_of(service))
                assert members(service.last) == ["a=1", f"session.id={session.peek()}"]
        assert listed.last.headers["X-Session-Signature"] is not None
        assert other.last.headers["X-Session-Signature"] is None
        assert baggage.get_baggage("session.id") == FOREIGN
        caller.get(host_of(other))  # outside of every scope
        assert members(other.last) == ["a=1", f"session.id={FOREIGN}"]


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_last_call_decides_through_what(
    name: str, manager: SessionManager, services: tuple[SessionsAPI, SessionsAPI], leaving: ExitStack
) -> None:
    make = "make_traced" if name == "aiohttp" else "make"
    steps = [make, "through", "propagate"] + ["instrument"] * (name != "aiohttp")
    caller = Caller(LIBRARIES[name], steps, host_of(services[0]), leaving)
    with manager.session() as session:
        for service in services:
            caller.get(host_of(service))
    assert [members(service.last) for service in services] == [[f"session.id={session.peek()}"], []]


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_wrapper_of_a_client_stays(
    name: str, manager: SessionManager, services: tuple[SessionsAPI, SessionsAPI], leaving: ExitStack
) -> None:
    """Such as one that tries again; it is called once, and is back when the session goes another way."""
    library, host = LIBRARIES[name], host_of(services[0])
    caller = Caller(library, ["make"], host, leaving)
    method = "_request" if name == "aiohttp" else "send"
    original, called = getattr(caller.client, method), []

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        called.append(baggage.get_baggage("session.id"))
        return original(*args, **kwargs)

    object.__setattr__(caller.client, method, wrapper)
    through: tuple[Any, ...] = "opentelemetry", "opentelemetry", None
    for each in through:
        library.propagate(caller.client, hosts=[host], through=each)
    with manager.session() as session:
        caller.get(host)
        assert called == [None]
        for each in through[:2]:
            library.propagate(caller.client, hosts=[host], through=each)
        caller.get(host)
    assert called == [None, session.peek()]
    assert members(services[0].last) == [f"session.id={session.peek()}"]


@pytest.mark.parametrize("name", LIBRARIES)
def test_through_is_checked(name: str, leaving: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is none, and OpenTelemetry that is not there; what was set up stays."""
    library = LIBRARIES[name]
    client = Caller(library, ["make", "through"], "localhost", leaving).client
    before = {key: value for key, value in vars(client).items() if key in {"send", "_request"}}
    assert before
    with pytest.raises(ConfigurationError, match="through='zipkin' must be 'opentelemetry'"):
        library.propagate(client, hosts=["localhost"], through="zipkin")
    monkeypatch.setitem(sys.modules, "opentelemetry.baggage", None)
    with pytest.raises(ImportError, match=r"hl-sessions\[opentelemetry\]"):
        library.propagate(client, hosts=["localhost"], through="opentelemetry")
    assert before.items() <= vars(client).items()


@in_every_order
def test_a_session_that_the_caller_names_stays(
    name: str,
    order: list[str],
    manager: SessionManager,
    services: tuple[SessionsAPI, SessionsAPI],
    leaving: ExitStack,
) -> None:
    """It is not OpenTelemetry's, and no other is read, nor signed."""
    listed, _ = services
    caller = Caller(LIBRARIES[name], order, host_of(listed), leaving)
    caller.client.headers.update({"baggage": "session.id=sesh_mine"})
    with manager.session() as session:
        caller.get(host_of(listed))
        assert session.peek() is None
    assert members(listed.last) == ["session.id=sesh_mine"]
    assert listed.last.headers["X-Session-Signature"] is None
    if name in HTTPX:  # of the others OpenTelemetry has taken it away by then
        with opentelemetry_baggage({"a": "1"}), manager.session() as session:
            caller.get(host_of(listed))
            assert session.peek() is None
        is_traced = any(step.startswith("instrument") for step in order)
        assert members(listed.last) == ["a=1"] * is_traced + ["session.id=sesh_mine"]
        assert listed.last.headers["X-Session-Signature"] is None


@pytest.mark.parametrize("name", HTTPX)
def test_a_client_of_httpx_can_be_uninstrumented(
    name: str, manager: SessionManager, services: tuple[SessionsAPI, SessionsAPI], leaving: ExitStack
) -> None:
    """Its transports are still where OpenTelemetry has left them."""
    listed, _ = services
    caller = Caller(LIBRARIES[name], ["make", "instrument_client", "propagate"], host_of(listed), leaving)
    LIBRARIES[name].instrumentor.uninstrument_client(caller.client)
    with manager.session() as session:
        caller.get(host_of(listed))
    assert members(listed.last) == [f"session.id={session.peek()}"]
    assert listed.last.headers["traceparent"] is None
