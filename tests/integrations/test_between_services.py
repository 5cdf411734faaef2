"""A call through several services, on real servers, is one session."""

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hl_sessions import SessionManager, acurrent_session_id
from hl_sessions.carrying import SharedSecret
from hl_sessions.integrations.httpx import propagate
from hl_sessions.integrations.starlette import HLSessionMiddleware
from tests.integrations.conftest import ServeASGI
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE

SECRET = SharedSecret("a secret of many characters")
OTHER_SECRET = SharedSecret("another secret of many characters")

Start = Callable[..., str]


@pytest.fixture
def start(serve_asgi: ServeASGI, manager: SessionManager, other_manager: SessionManager) -> Start:
    """Starts a service that answers with its session and that of the services behind it."""
    managers = cycle([manager, other_manager])

    def start(
        behind: str | None = None,
        *,
        carrier: Any = "baggage",
        wrap: Callable[[Any], Any] = lambda app: app,
        **options: Any,
    ) -> str:
        secret = options.get("trust") if isinstance(options.get("trust"), SharedSecret) else None

        async def answer(request: Request) -> JSONResponse:
            sessions = []
            if behind is not None:
                async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
                    propagate(client, hosts=["127.0.0.1"], carrier=carrier, secret=secret)
                    sessions = (await client.get(behind)).json()
            return JSONResponse([await acurrent_session_id(), *sessions])

        middleware = Middleware(HLSessionMiddleware, next(managers), **options)
        host, port = serve_asgi(wrap(Starlette(routes=[Route("/", answer)], middleware=[middleware])))
        return f"http://{host}:{port}/"

    return start


@pytest.fixture
def proxy(serve_asgi: ServeASGI) -> Callable[[str], str]:
    """Starts what passes calls on with their headers, and knows nothing of sessions."""

    def start(target: str) -> str:
        async def forward(request: Request) -> JSONResponse:
            headers = {name: value for name, value in request.headers.items() if name != "host"}
            async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
                return JSONResponse((await client.get(target, headers=headers)).json())

        host, port = serve_asgi(Starlette(routes=[Route("/", forward)]))
        return f"http://{host}:{port}/"

    return start


@pytest.mark.parametrize("carrier", ["baggage", "header"])
@pytest.mark.parametrize("trust", [SECRET, ["127.0.0.1"]], ids=["secret", "network"])
def test_the_service_behind_joins(
    start: Start, proxy: Callable[[str], str], sessions_api: SessionsAPI, trust: Any, carrier: str
) -> None:
    """One POST for both, through a proxy, too; the next call is another session."""
    front = start(proxy(start(trust=trust)), trust=trust, carrier=carrier)
    calls = [httpx.get(front, trust_env=False, timeout=PATIENCE).json() for _ in range(2)]
    assert [len({*sessions}) for sessions in calls] == [1, 1]
    assert calls[0] != calls[1]
    assert sessions_api.posts == 2


@pytest.mark.parametrize("trust", [None, OTHER_SECRET, ["10.0.0.0/8"]], ids=["nobody", "secret", "network"])
def test_a_service_that_does_not_trust_has_its_own(
    start: Start, sessions_api: SessionsAPI, trust: Any
) -> None:
    """It ignores what it is told."""
    front = start(start(trust=trust), trust=SECRET)
    assert len({*httpx.get(front, trust_env=False, timeout=PATIENCE).json()}) == 2
    assert sessions_api.posts == 2


@pytest.fixture
def instrumented() -> Iterator[Callable[[Any], Any]]:
    """Instruments all clients of HTTPX, and returns what instruments a service."""
    pytest.importorskip("opentelemetry.instrumentation.asgi")
    pytest.importorskip("opentelemetry.instrumentation.httpx")
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    HTTPXClientInstrumentor().instrument()
    yield OpenTelemetryMiddleware
    HTTPXClientInstrumentor().uninstrument()


@pytest.mark.parametrize("carrier", ["baggage", "header"])
@pytest.mark.parametrize("trust", [SECRET, ["127.0.0.1"]], ids=["secret", "network"])
def test_three_services_with_opentelemetry_are_in_one_session(
    start: Start, instrumented: Any, sessions_api: SessionsAPI, trust: Any, carrier: str
) -> None:
    """What else is in the baggage goes along."""
    options = {"trust": trust, "carrier": carrier, "wrap": instrumented}
    front = start(start(start(**options), **options), **options)
    headers = {"baggage": "gen_ai.conversation.id=conv-1"}
    sessions = httpx.get(front, headers=headers, trust_env=False, timeout=PATIENCE).json()
    assert len(sessions) == 3
    assert len({*sessions}) == sessions_api.posts == 1


def test_what_opentelemetry_sends_on_is_believed_by_nobody(
    start: Start, instrumented: Any, sessions_api: SessionsAPI
) -> None:
    """A service that is not listed gets the ID from it, but no signature, and has a session of its own."""
    options = {"trust": SECRET, "wrap": instrumented}
    unlisted = start(**options).replace("127.0.0.1", "localhost")
    front = start(start(unlisted, **options), **options)
    first, second, third = httpx.get(front, trust_env=False, timeout=PATIENCE).json()
    assert first == second != third


def test_a_service_with_another_session_sends_that_on(
    start: Start, instrumented: Any, sessions_api: SessionsAPI
) -> None:
    """And not the one of its caller, whom it does not trust, though OpenTelemetry would."""
    back = start(trust=SECRET, wrap=instrumented)
    middle = start(back, trust=SECRET, wrap=instrumented)
    front = start(middle, trust=OTHER_SECRET, wrap=instrumented)
    first, second, third = httpx.get(front, trust_env=False, timeout=PATIENCE).json()
    assert first != second == third
