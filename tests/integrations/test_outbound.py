"""Calls to the listed services carry the session, through each of the HTTP clients, and no others do."""

import asyncio
import copy
import gc
import inspect
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest
import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPDigestAuth
from urllib3.util import Retry

from hl_sessions import ConfigurationError, HLSessionsError, SessionManager, current_session_id
from hl_sessions.carrying import SharedSecret
from hl_sessions.integrations import httpx as httpx_integration
from hl_sessions.integrations import requests as requests_integration
from tests.interpreters import collects_at_once
from tests.sessions_api import Answer, Request, SessionsAPI
from tests.waiting import PATIENCE

SECRET = SharedSecret("a secret of two services")


class Caller:
    """An HTTP client, whichever it is."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._is_async = inspect.iscoroutinefunction(client.get)
        self._loop = asyncio.new_event_loop() if self._is_async else None

    def propagate(self, *services: SessionsAPI, **options: Any) -> None:
        options.setdefault("hosts", [host_of(service) for service in services])
        is_requests = isinstance(self.client, requests.Session)
        integration: Any = requests_integration if is_requests else httpx_integration
        assert integration.propagate(self.client, **options) is self.client

    def get(self, url: str, headers: dict[str, Any] | None = None, *, follow: bool = True) -> Any:
        """The response to a GET."""
        name = "allow_redirects" if isinstance(self.client, requests.Session) else "follow_redirects"
        return self.run(self.client.get(url, headers=headers, **{name: follow}))

    def run(self, result: Any) -> Any:
        return self._loop.run_until_complete(result) if self._loop is not None else result

    def close(self) -> None:
        self.run(self.client.aclose() if self._is_async else self.client.close())
        if self._loop is not None:
            self._loop.close()


@pytest.fixture(
    params=[requests.Session, httpx.Client, httpx.AsyncClient, httpx2.Client, httpx2.AsyncClient],
    ids=["requests", "httpx", "httpx-async", "httpx2", "httpx2-async"],
)
def caller(request: pytest.FixtureRequest) -> Iterator[Caller]:
    client = request.param() if request.param is requests.Session else request.param(trust_env=False)
    caller = Caller(client)
    yield caller
    caller.close()


@pytest.fixture
def service() -> Iterator[SessionsAPI]:
    yield from start_service()


@pytest.fixture
def other_service() -> Iterator[SessionsAPI]:
    yield from start_service()


def start_service() -> Iterator[SessionsAPI]:
    service = SessionsAPI()
    service.answer = lambda _: Answer(200, {})
    yield service
    service.close()


def url_of(service: SessionsAPI, path: str = "/") -> str:
    return service.base_url.removesuffix("/v4") + path


def host_of(service: SessionsAPI) -> str:
    return url_of(service, "").removeprefix("http://")


def carried(service: SessionsAPI, name: str = "baggage") -> list[str | None]:
    """What that header was, for each request that arrived."""
    return [request.headers[name] for request in service.requests]


def redirect_to(*urls: str) -> Callable[[Request], Answer]:
    """One redirect after the other, then a plain answer."""
    left = list(urls)
    return lambda _: Answer(307, {}, {"Location": left.pop(0)}) if left else Answer(200, {})


def test_a_call_carries_the_session_of_its_scope(
    caller: Caller, manager: SessionManager, service: SessionsAPI, sessions_api: SessionsAPI
) -> None:
    """As W3C baggage; the first call creates it, as any other read does."""
    caller.propagate(service)
    with manager.session() as session:
        caller.get(url_of(service))
        assert sessions_api.posts == 1
        assert current_session_id() == session.peek()
        caller.get(url_of(service))
    with manager.session() as second:
        caller.get(url_of(service))
    assert carried(service) == [f"session.id={each.peek()}" for each in (session, session, second)]
    assert None not in {session.peek(), second.peek()}
    assert sessions_api.posts == 2
    assert carried(service, "X-Session-ID") == [None] * 3


def test_a_plain_header_carries_it(caller: Caller, manager: SessionManager, service: SessionsAPI) -> None:
    """Where no baggage is wanted; one of the caller's own stays."""
    caller.propagate(service, carrier="header")
    with manager.session() as session:
        caller.get(url_of(service))
        caller.get(url_of(service), {"x-session-id": "sesh_mine"})
    assert carried(service, "X-Session-ID") == [session.peek(), "sesh_mine"]
    assert service.last.headers.get_all("X-Session-ID") == ["sesh_mine"]
    assert carried(service) == [None, None]


@pytest.mark.parametrize("carrier", ["baggage", "header"])
def test_a_secret_signs_it(
    caller: Caller, manager: SessionManager, service: SessionsAPI, carrier: str
) -> None:
    """In a header of its own, for this host: the service can tell that another one with the secret calls."""
    caller.propagate(service, carrier=carrier, secret=SECRET)
    with manager.session() as session:
        caller.get(url_of(service), {"baggage": "a=1", "x-session-signature": "of another call"})
    session_id = session.peek()
    assert session_id is not None
    assert len(service.last.headers.get_all("X-Session-Signature", [])) == 1
    by_carrier = {"baggage": (f"a=1,session.id={session_id}", None), "header": ("a=1", session_id)}
    headers = service.last.headers
    assert (headers["baggage"], headers["X-Session-ID"]) == by_carrier[carrier]
    assert SECRET.verify(session_id, headers["X-Session-Signature"], "127.0.0.1")
    assert not SECRET.verify(session_id, headers["X-Session-Signature"], "localhost")


def test_nothing_is_added_outside_of_every_scope(
    caller: Caller, service: SessionsAPI, sessions_api: SessionsAPI
) -> None:
    """And no session is made."""
    caller.propagate(service)
    caller.get(url_of(service), {"baggage": "a=1"})
    assert carried(service) == ["a=1"]
    assert sessions_api.posts == 0


@pytest.mark.parametrize("host", ["search.internal", b"search.internal"])
def test_the_host_that_the_caller_names_is_signed_for(
    manager: SessionManager, caller: Caller, service: SessionsAPI, host: str | bytes
) -> None:
    """It is the one that the service sees, in any form."""
    caller.propagate(service, secret=SECRET)
    with manager.session() as session:
        caller.get(url_of(service), headers={"Host": host})
    assert SECRET.verify(str(session.id), service.last.headers["X-Session-Signature"], "search.internal")


def test_no_other_host_gets_it(
    caller: Caller,
    manager: SessionManager,
    service: SessionsAPI,
    other_service: SessionsAPI,
    sessions_api: SessionsAPI,
) -> None:
    """Neither another port nor another name; calls there make no session either."""
    caller.propagate(service)
    with manager.session():
        caller.get(url_of(other_service))
        caller.get(url_of(service).replace("127.0.0.1", "localhost"))
        assert sessions_api.posts == 0
        caller.get(url_of(service))
        caller.get(url_of(other_service))
    assert carried(other_service) == [None, None]
    assert [header is not None for header in carried(service)] == [False, True]


@pytest.mark.parametrize("carrier", ["baggage", "header"])
def test_a_redirect_to_another_host_loses_it(
    caller: Caller,
    manager: SessionManager,
    service: SessionsAPI,
    other_service: SessionsAPI,
    carrier: str,
) -> None:
    """And one back to a listed host has it again; what the caller sent goes along all the way."""
    name = "baggage" if carrier == "baggage" else "X-Session-ID"
    caller.propagate(service, carrier=carrier)
    service.answer = redirect_to(url_of(service, "/same"), url_of(other_service, "/away"))
    other_service.answer = redirect_to(url_of(other_service, "/still-away"), url_of(service, "/back"))
    with manager.session() as session:
        response = caller.get(url_of(service), {"X-Mine": "1", "baggage": "a=1"})
    assert response.status_code == 200
    value = f"a=1,session.id={session.id}" if carrier == "baggage" else session.id
    assert [request.target for request in service.requests] == ["/", "/same", "/back"]
    assert carried(service, name) == [value] * 3
    assert carried(other_service, name) == ["a=1" if carrier == "baggage" else None] * 2
    assert carried(other_service, "X-Mine") == ["1", "1"]


def test_a_redirect_that_the_caller_follows_has_nothing_either(
    caller: Caller, manager: SessionManager, service: SessionsAPI, other_service: SessionsAPI
) -> None:
    """With a client that knows nothing of sessions."""
    caller.propagate(service)
    service.answer = redirect_to(url_of(other_service))
    with manager.session():
        response = caller.get(url_of(service), follow=False)
        assert response.status_code == 307
        following = response.next if isinstance(response, requests.Response) else response.next_request
        stranger = Caller(type(caller.client)())
        stranger.run(stranger.client.send(following))
        stranger.close()
    assert None not in carried(service)
    assert carried(other_service) == [None]


@pytest.mark.parametrize(
    ("own", "sent"),
    [
        pytest.param("a=1;p=2, b=%20", "a=1;p=2, b=%20,session.id={}", id="others"),
        pytest.param("", "session.id={}", id="empty"),
        pytest.param("my.session.id=x", "my.session.id=x,session.id={}", id="other-key"),
        pytest.param("a=1, session.id = x;p", "a=1, session.id = x;p", id="a-session"),
        pytest.param("a=1,session.id=", "a=1,session.id=", id="an-empty-session"),
        pytest.param(b"a=1", "a=1,session.id={}", id="bytes"),
    ],
)
def test_baggage_of_the_caller_is_kept(
    caller: Caller, manager: SessionManager, service: SessionsAPI, own: Any, sent: str
) -> None:
    """The session is put behind it, or left out where the caller named one."""
    caller.propagate(service)
    with manager.session() as session:
        caller.get(url_of(service), {"Baggage": own})
        assert carried(service) == [sent.format(session.peek())]
        assert (session.peek() is None) is ("{}" not in sent)


def test_calling_it_twice_is_calling_it_once(
    caller: Caller, manager: SessionManager, service: SessionsAPI, other_service: SessionsAPI
) -> None:
    """With other arguments, the last call counts."""
    caller.propagate(other_service, carrier="header")
    caller.propagate(service)
    caller.propagate(service)
    with manager.session() as session:
        caller.get(url_of(service))
        caller.get(url_of(other_service))
    assert carried(service) == [f"session.id={session.id}"]
    assert carried(service, "X-Session-ID") == carried(other_service, "X-Session-ID") == [None]


def test_a_sessions_api_that_is_down_leaves_the_call_as_it_is(
    caller: Caller, manager: SessionManager, service: SessionsAPI, sessions_api: SessionsAPI
) -> None:
    """With ``on_error="raise"`` the call raises, as every read does."""
    sessions_api.answer = lambda _: Answer(503)
    caller.propagate(service)
    with manager.session():
        assert caller.get(url_of(service), {"baggage": "a=1"}).status_code == 200
    assert carried(service) == ["a=1"]
    with (
        SessionManager(sessions_api.base_url, retries=0, on_error="raise") as raising,
        raising.session(),
        pytest.raises(HLSessionsError),
    ):
        caller.get(url_of(service))
    assert len(service.requests) == 1


@pytest.mark.parametrize("client_class", [httpx.AsyncClient, httpx2.AsyncClient])
def test_an_event_loop_runs_on_while_a_call_creates_the_session(
    manager: SessionManager, service: SessionsAPI, sessions_api: SessionsAPI, client_class: Any
) -> None:
    """The API answers only when a task of the same loop has let it."""
    create, is_asked, may_answer = sessions_api.answer, threading.Event(), threading.Event()

    def answer_when_allowed(request: Request) -> Answer:
        is_asked.set()
        assert may_answer.wait(PATIENCE)
        return create(request)

    sessions_api.answer = answer_when_allowed

    async def allow_when_asked() -> None:
        assert await asyncio.to_thread(is_asked.wait, PATIENCE)
        may_answer.set()

    async def call() -> str | None:
        async with client_class(trust_env=False) as client, manager.session() as session:
            httpx_integration.propagate(client, hosts=["127.0.0.1"])
            await asyncio.gather(client.get(url_of(service)), allow_when_asked())
            return session.peek()

    assert carried(service) == []
    session_id = asyncio.run(call())
    assert session_id is not None
    assert carried(service) == [f"session.id={session_id}"]


def test_tasks_carry_their_own_sessions(manager: SessionManager, service: SessionsAPI) -> None:
    """One client serves them all at once."""

    async def call(client: httpx.AsyncClient, number: int) -> tuple[str, str | None]:
        async with manager.session(new=True) as session:
            await client.get(url_of(service, f"/{number}"))
            return f"/{number}", f"session.id={session.peek()}"

    async def call_all() -> dict[str, str | None]:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            httpx_integration.propagate(client, hosts=["127.0.0.1"])
            return dict(await asyncio.gather(*(call(client, number) for number in range(20))))

    expected = asyncio.run(call_all())
    assert {request.target: request.headers["baggage"] for request in service.requests} == expected
    assert len(set(expected.values())) == 20


@pytest.mark.parametrize("client", [None, "http", object(), SessionManager])
@pytest.mark.parametrize("integration", [httpx_integration, requests_integration])
def test_what_is_no_client_is_refused(integration: Any, client: Any) -> None:
    """The message names what is wanted."""
    with pytest.raises(ConfigurationError, match=r"^client must be an? (httpx\.Client|requests\.Session)"):
        integration.propagate(client, hosts=["a"])


def test_a_client_of_the_wrong_library_is_refused() -> None:
    """Each module serves its own."""
    with pytest.raises(ConfigurationError, match=r"^client must be an httpx\.Client .* not Session$"):
        httpx_integration.propagate(requests.Session(), hosts=["a"])  # type: ignore[type-var]
    with httpx.Client() as client, pytest.raises(ConfigurationError, match=r"not a Client of httpx$"):
        requests_integration.propagate(client, hosts=["a"])  # type: ignore[type-var]
    niquests_session: Any = type("Session", (), {"__module__": "niquests.sessions"})()
    with pytest.raises(ConfigurationError, match=r"requests\.Session, not a Session of niquests$"):
        requests_integration.propagate(niquests_session, hosts=["a"])


def test_adapters_of_requests_go_on_working(manager: SessionManager, service: SessionsAPI) -> None:
    """Their own code runs, their attributes are theirs, and a copied client is covered, too."""
    seen: list[str | None] = []

    class Adapter(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            seen.append(request.url)
            return super().send(request, *args, **kwargs)

    with requests.Session() as client, manager.session() as session:
        client.mount(url_of(service, ""), Adapter(max_retries=3))
        requests_integration.propagate(client, hosts=["127.0.0.1"])
        adapter: Any = client.get_adapter(url_of(service))
        assert adapter.max_retries.total == 3
        adapter.max_retries = Retry(total=4)
        assert adapter.adapter.max_retries.total == 4
        assert client.get(url_of(service)).ok
        assert seen == [url_of(service)]
        assert copy.copy(client).get(url_of(service)).ok
        client.mount(url_of(service, ""), Adapter())
        requests_integration.propagate(client, hosts=["127.0.0.1"])
        assert client.get(url_of(service)).ok
    assert carried(service) == [f"session.id={session.id}"] * 3


def test_a_client_of_requests_can_be_pickled(manager: SessionManager, service: SessionsAPI) -> None:
    """As it can without."""
    with requests.Session() as client:
        requests_integration.propagate(client, hosts=["127.0.0.1"], secret=SECRET)
        with pickle.loads(pickle.dumps(client)) as unpickled, manager.session() as session:
            assert unpickled.get(url_of(service)).ok
    assert service.last.headers["baggage"] == f"session.id={session.id}"
    assert SECRET.verify(str(session.id), service.last.headers["X-Session-Signature"], "127.0.0.1")


def test_headers_of_a_prepared_request_may_be_a_plain_dictionary(
    manager: SessionManager, service: SessionsAPI
) -> None:
    """Requests takes one."""
    with requests.Session() as client, manager.session() as session:
        requests_integration.propagate(client, hosts=["127.0.0.1"])
        prepared: Any = client.prepare_request(requests.Request("GET", url_of(service)))
        prepared.headers = {"X-Mine": "1"}
        assert client.send(prepared).ok
    assert prepared.headers == {"X-Mine": "1"}
    assert carried(service) == [f"session.id={session.id}"]
    assert carried(service, "X-Mine") == ["1"]


def test_a_request_of_requests_is_as_it_was_when_it_has_been_sent(
    manager: SessionManager, service: SessionsAPI, other_service: SessionsAPI
) -> None:
    """So that of a response or an error brings nothing to another host, nor into a later scope."""
    hosts, headers = [host_of(service), "127.0.0.1:9"], {"baggage": "a=1"}
    with requests.Session() as client:
        requests_integration.propagate(client, hosts=hosts, secret=SECRET)
        with manager.session() as first:
            response = client.get(url_of(service), headers=headers)
            with pytest.raises(requests.ConnectionError) as caught:
                client.get("http://127.0.0.1:9/", headers=headers)
        with manager.session() as second:
            for request in response.request, caught.value.request:
                assert isinstance(request, requests.PreparedRequest)
                for called in service, other_service:
                    request.url = url_of(called)
                    client.send(request)
                client.get(url_of(other_service), headers=request.headers)
    assert carried(service) == [f"a=1,session.id={session.id}" for session in (first, second, second)]
    assert carried(other_service) == ["a=1"] * 4
    assert carried(other_service, "X-Session-Signature") == [None] * 4


def test_a_kept_response_of_requests_holds_nothing_of_ours(
    manager: SessionManager, service: SessionsAPI
) -> None:
    """Caches pickle responses, with their requests; some keep the requests that they have sent."""
    with requests.Session() as client, manager.session() as session:
        requests_integration.propagate(client, hosts=["127.0.0.1"], secret=SECRET)
        sent: list[requests.PreparedRequest] = []
        adapter: Any = client.get_adapter(url_of(service))
        adapter.adapter.add_headers = lambda request, **_: sent.append(request)
        kept = pickle.dumps([client.get(url_of(service)), sent])
    assert b"hl_sessions" not in kept
    assert b"a secret of two services" not in kept
    response, (request,) = pickle.loads(kept)
    assert "Baggage" not in response.request.headers
    assert "X-Session-Signature" not in response.request.headers
    assert request.headers["Baggage"] == f"session.id={session.id}"


@pytest.mark.parametrize("write", [lambda headers: headers, lambda headers: headers.copy()])
def test_what_requests_sends_has_it_though_an_adapter_writes_the_header(
    manager: SessionManager, service: SessionsAPI, write: Callable[[Any], Any]
) -> None:
    """As OpenTelemetry's instrumentation of urllib3 does, in a copy."""

    class Adapter(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            headers = request.headers = write(request.headers)
            headers["Baggage"] = "a=1"
            headers["X-Mine"] = "1"
            return super().send(request, *args, **kwargs)

    with requests.Session() as client, manager.session() as session:
        client.mount("http://", Adapter())
        requests_integration.propagate(client, hosts=["127.0.0.1"], secret=SECRET)
        assert client.get(url_of(service), headers={"baggage": "b=2"}).ok
    assert carried(service) == [f"a=1,session.id={session.id}"]
    assert carried(service, "X-Mine") == ["1"]
    assert SECRET.verify(str(session.id), service.last.headers["X-Session-Signature"], "127.0.0.1")


def write_in_place(request: Any, _: Any) -> None:
    request.headers["Baggage"] = "a=1"


def write_a_copy(request: Any, _: Any) -> None:
    headers = request.headers.copy()
    headers["Baggage"] = "a=1"
    request.headers = headers


def write_all_anew(request: Any, library: Any) -> None:
    request.headers = library.Headers({"Host": "127.0.0.1", "Baggage": "a=1"})


@pytest.mark.parametrize("write", [write_in_place, write_a_copy, write_all_anew])
@pytest.mark.parametrize("library", [httpx, httpx2])
def test_what_httpx_sends_has_it_though_a_transport_writes_the_header(
    manager: SessionManager, service: SessionsAPI, library: Any, write: Callable[[Any, Any], None]
) -> None:
    """As OpenTelemetry's instrumentation does, in a copy."""

    class Transport(library.HTTPTransport):  # type: ignore[misc] # whichever library
        def handle_request(self, request: Any) -> Any:
            write(request, library)
            return super().handle_request(request)

    with library.Client(transport=Transport(verify=False)) as client, manager.session() as session:
        httpx_integration.propagate(client, hosts=["127.0.0.1"], secret=SECRET)
        assert client.get(url_of(service), headers={"baggage": "b=2"}).status_code == 200
    assert carried(service) == [f"a=1,session.id={session.id}"]
    assert SECRET.verify(str(session.id), service.last.headers["X-Session-Signature"], "127.0.0.1")


def test_a_request_that_is_answered_with_a_challenge_has_it_both_times(
    caller: Caller, manager: SessionManager, service: SessionsAPI
) -> None:
    """Once, each time."""
    challenge = {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'}
    service.answer = lambda request: (
        Answer(200, {}) if "Authorization" in request.headers else Answer(401, {}, challenge)
    )
    caller.propagate(service)
    library: Any = httpx2 if type(caller.client).__module__.startswith("httpx2") else httpx
    auth: Any = HTTPDigestAuth if isinstance(caller.client, requests.Session) else library.DigestAuth
    caller.client.auth = auth("user", "password")
    with manager.session() as session:
        assert caller.get(url_of(service)).status_code == 200
    assert carried(service) == [f"session.id={session.id}"] * 2


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_request_of_httpx_is_as_it_was_when_it_has_been_sent(manager: SessionManager, library: Any) -> None:
    """A response and an error have the caller's own; a transport sees the session, and may add more."""
    seen: list[Any] = []

    class Transport(library.MockTransport):  # type: ignore[misc] # whichever library
        def handle_request(self, request: Any) -> Any:
            request.headers["X-Transport"] = "1"
            return super().handle_request(request)

    def answer(request: Any) -> Any:
        seen.append(request)
        if request.url.path == "/down":
            raise library.ConnectError("down")
        return library.Response(200, content=request.read())

    with library.Client(transport=Transport(answer)) as client, manager.session() as session:
        httpx_integration.propagate(client, hosts=["a.internal"], secret=SECRET)
        request = client.build_request("POST", "http://a.internal/", content=iter([b"body"]))
        before = dict(request.headers)
        response = client.send(request)
        assert response.text == "body"
        assert response.request is request
        assert request.content == b"body"
        failing = client.build_request("GET", "http://a.internal/down")
        with pytest.raises(library.ConnectError) as caught:
            client.send(failing)
        assert caught.value.request is failing
    assert dict(request.headers) == before
    assert not {"baggage", "x-session-signature"} & {*failing.headers}
    assert [request.headers["baggage"] for request in seen] == [f"session.id={session.id}"] * 2
    assert [request.headers["x-transport"] for request in seen] == ["1", "1"]
    assert all(isinstance(request, library.Request) for request in seen)
    kept = pickle.dumps(seen[0])
    assert b"hl_sessions" not in kept
    assert pickle.loads(kept).headers["baggage"] == f"session.id={session.id}"


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_headers_of_a_class_of_its_own_carry_the_session(manager: SessionManager, library: Any) -> None:
    class Headers(library.Headers):  # type: ignore[misc] # whichever library
        def __init__(self) -> None:
            super().__init__({"Host": "a.internal"})

    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.append(request.headers["baggage"])
        return library.Response(200)

    with library.Client(transport=library.MockTransport(answer)) as client, manager.session() as session:
        httpx_integration.propagate(client, hosts=["a.internal"])
        request = client.build_request("GET", "http://a.internal/")
        request.headers = Headers()
        client.send(request)
    assert seen == [f"session.id={session.id}"]


@pytest.mark.parametrize("value", [b"a=\xc3\xbc", b"a=\xfc"])
@pytest.mark.parametrize("library", [httpx, httpx2])
def test_httpx_sends_the_bytes_of_other_headers_as_they_are(
    manager: SessionManager, library: Any, value: bytes
) -> None:
    """In UTF-8 or not; and a transport may add what is in another script."""
    seen: list[dict[bytes, bytes]] = []

    def answer(request: Any) -> Any:
        if value == "a=ü".encode():
            request.headers["X-Added"] = "猫"
        seen.append(dict(request.headers.raw))
        return library.Response(200)

    with library.Client(transport=library.MockTransport(answer)) as client, manager.session() as session:
        httpx_integration.propagate(client, hosts=["a.internal"], secret=SECRET)
        client.get("http://a.internal/", headers={b"baggage": value, b"X-Name": value})
    assert seen[0][b"X-Name"] == value
    assert seen[0][b"baggage"] == value + f",session.id={session.id}".encode()


@collects_at_once
@pytest.mark.parametrize("client_class", [httpx.Client, httpx2.Client])
def test_a_client_of_httpx_that_is_not_needed_goes_at_once(
    manager: SessionManager, client_class: Any
) -> None:
    """As it does without: some close their connections then."""
    library: Any = httpx if client_class is httpx.Client else httpx2
    gc.disable()
    try:
        client = client_class(transport=library.MockTransport(lambda _: library.Response(200)))
        httpx_integration.propagate(client, hosts=["a.internal"])
        reference = weakref.ref(client)
        with manager.session():
            client.get("http://a.internal/")
        del client
        assert reference() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_hooks_of_httpx_go_on_working(manager: SessionManager, service: SessionsAPI, library: Any) -> None:
    """A request that failed and is sent once more, by another scope, carries the session of that one."""
    seen: list[str] = []
    hooks = {
        "request": [lambda request: seen.append("request")],
        "response": [lambda _: seen.append("response")],
    }
    with library.Client(trust_env=False, event_hooks=hooks) as client:
        httpx_integration.propagate(client, hosts=["127.0.0.1"])
        request = client.build_request("GET", url_of(service))
        service.answer = lambda _: Answer(200, b"", {"Content-Length": "wrong"})
        with manager.session() as first, pytest.raises(library.RemoteProtocolError):
            client.send(request)
        service.answer = lambda _: Answer(200, {})
        with manager.session() as second:
            assert client.send(request).status_code == 200
    assert seen == ["request", "request", "response"]
    assert carried(service) == [f"session.id={first.peek()}", f"session.id={second.peek()}"]
    assert first.peek() != second.peek()


@pytest.mark.parametrize("through", [None, "opentelemetry"])
@pytest.mark.parametrize("library", [httpx, httpx2])
def test_an_asynchronous_client_of_httpx_may_wrap_its_coroutines(
    manager: SessionManager, library: Any, through: Any
) -> None:
    """In plain functions, as decorators do."""
    if through is not None:
        pytest.importorskip("opentelemetry.baggage")

    class Client(library.AsyncClient):  # type: ignore[misc] # whichever library
        def send(self, *args: Any, **kwargs: Any) -> Any:
            return super().send(*args, **kwargs)

    def answer(request: Any) -> Any:
        return library.Response(200, text=request.headers["baggage"])

    async def call() -> tuple[str, str | None]:
        async with Client(transport=library.MockTransport(answer)) as client, manager.session() as session:
            httpx_integration.propagate(client, hosts=["a.internal"], through=through)
            return (await client.get("http://a.internal/")).text, session.peek()

    sent, session_id = asyncio.run(call())
    assert session_id is not None
    assert sent == f"session.id={session_id}"
