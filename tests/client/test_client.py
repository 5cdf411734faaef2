"""The calls of the client as they go over the wire, and what they answer."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import urllib3

from hl_sessions import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    HLSessionsError,
    InvalidResponseError,
    NotFoundError,
    ServerError,
    SessionsClient,
)
from hl_sessions.client.answers import Response
from tests.client.conftest import API_KEY, Call
from tests.faults import FaultServer, Play, Wire
from tests.no_threads import MORE_THAN_THERE_IS
from tests.sessions_api import Answer, Request, SessionsAPI, new_session_id
from tests.waiting import PATIENCE, ends_within, in_threads

SESSION_ID = "sesh_AAAAAAAAAAAAAAAAAAAA"
CREATED = b'HTTP/1.1 201 Created\r\nContent-Length: 35\r\n\r\n{"id": "sesh_AAAAAAAAAAAAAAAAAAAA"}'
RECORD = {
    "id": SESSION_ID,
    "projects": [{"id": "pr_AAAAAAAAAAAAAAAAAAAA", "name": "a project"}],
    "datapoints_count": 1,
    "created_at": "2023-07-26T10:00:00+00:00",
    "updated_at": "2023-07-26T10:00:01+00:00",
    "reference_id": "chat-42",
    "first_inputs": {"question": "?"},
    "last_output": "!",
}


def answer_always(body: Any, status: int = 200, **headers: str) -> Callable[[Request], Answer]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: Answer(status, body, named)


def test_create_posts_nothing_at_all(client: SessionsClient, sessions_api: SessionsAPI, call: Call) -> None:
    """The request is an empty POST: no body, no type of one."""
    response = call(client, "create")
    assert response.body["id"].startswith("sesh_")
    (request,) = sessions_api.requests
    assert (request.method, request.target, request.body) == ("POST", "/v4/sessions", b"")
    assert request.headers["Content-Length"] == "0"
    assert request.headers["Content-Type"] is None
    assert request.headers["Transfer-Encoding"] is None
    assert request.headers["Accept"] == "application/json"
    assert request.headers["User-Agent"] == f"hl-sessions/{version('hl-sessions')}"


def test_get_looks_one_session_up(client: SessionsClient, sessions_api: SessionsAPI, call: Call) -> None:
    """The ID is the last segment of the path, and the record comes back whole."""
    sessions_api.answer = answer_always(RECORD)
    assert call(client, "get", SESSION_ID).body == RECORD
    assert (sessions_api.last.method, sessions_api.last.target) == ("GET", f"/v4/sessions/{SESSION_ID}")


def test_a_record_may_leave_out_what_has_no_value(
    client: SessionsClient, sessions_api: SessionsAPI, call: Call
) -> None:
    """Only four fields are required, and unknown ones do no harm."""
    record = {"id": SESSION_ID, "projects": [], "datapoints_count": 0, "created_at": "2023-07-26T10:00:00Z"}
    sessions_api.answer = answer_always({**record, "colour": "red"})
    assert call(client, "get", SESSION_ID).body == {**record, "colour": "red"}


@pytest.mark.parametrize(
    ("options", "query"),
    [
        pytest.param({}, {"page": ["1"], "size": ["10"]}, id="defaults"),
        pytest.param({"page": 3, "size": 50}, {"page": ["3"], "size": ["50"]}, id="given"),
    ],
)
def test_list_asks_for_a_page_of_a_project(
    client: SessionsClient, sessions_api: SessionsAPI, call: Call, options: Any, query: dict[str, list[str]]
) -> None:
    """The project and the page are in the query, escaped."""
    page = {"records": [RECORD], "page": 1, "size": 10, "total": 1}
    sessions_api.answer = answer_always(page)
    assert call(client, "list", "pr_1&x=2#é", **options).body == page
    target = urlsplit(sessions_api.last.target)
    assert target.path == "/v4/sessions"
    assert parse_qs(target.query) == {"project_id": ["pr_1&x=2#é"], **query}


class Pages:
    """Answers ``GET /sessions`` with a slice of ``records``, and says there are ``total`` of them."""

    def __init__(self, count: int, total: int | None = None) -> None:
        self.records = [{**RECORD, "id": new_session_id()} for _ in range(count)]
        self.total = count if total is None else total

    def __call__(self, request: Request) -> Answer:
        query = parse_qs(urlsplit(request.target).query)
        page, size = int(query["page"][0]), int(query["size"][0])
        records = self.records[(page - 1) * size : page * size]
        return Answer(200, {"records": records, "page": page, "size": size, "total": self.total})


@pytest.mark.parametrize(
    ("count", "total", "calls"),
    [
        pytest.param(0, 0, 1, id="none"),
        pytest.param(2, 2, 1, id="one-full-page"),
        pytest.param(5, 5, 3, id="three-pages"),
        pytest.param(4, 9, 3, id="fewer-than-promised"),
    ],
)
def test_iter_yields_the_sessions_of_all_pages(
    *, client: SessionsClient, sessions_api: SessionsAPI, call: Call, count: int, total: int, calls: int
) -> None:
    """Page after page in order, with no call more than needed, and an end even if the total is wrong."""
    pages = Pages(count, total)
    sessions_api.answer = pages
    assert call(client, "iter", "pr_1", size=2) == pages.records
    assert len(sessions_api.requests) == calls


def test_iter_yields_each_session_once(client: SessionsClient, sessions_api: SessionsAPI, call: Call) -> None:
    """Sessions that begin meanwhile push others on to the next page, where they are met again."""
    pages = Pages(30)
    before = [*pages.records]

    def answer(request: Request) -> Answer:
        page = pages(request)
        pages.records.insert(0, {**RECORD, "id": new_session_id()})
        pages.total += 1
        return page

    sessions_api.answer = answer
    assert call(client, "iter", "pr_1", size=5) == before


def test_iter_looks_a_page_up_when_it_is_needed(client: SessionsClient, sessions_api: SessionsAPI) -> None:
    """Content that is not read is not requested."""
    sessions_api.answer = Pages(100)
    sessions = client.iter("pr_1", size=2)
    assert sessions_api.requests == []
    next(sessions)
    next(sessions)
    assert len(sessions_api.requests) == 1
    next(sessions)
    assert len(sessions_api.requests) == 2


@pytest.mark.parametrize(
    ("key", "prefix", "header"),
    [
        pytest.param(None, None, None, id="no-key"),
        pytest.param(None, "Bearer", None, id="a-prefix-without-a-key"),
        pytest.param("key", None, "key", id="key"),
        pytest.param("key", "Bearer", "Bearer key", id="key-with-prefix"),
    ],
)
def test_the_key_is_one_header(
    sessions_api: SessionsAPI, call: Call, key: str | None, prefix: str | None, header: str | None
) -> None:
    """X-API-KEY holds the key as it was given; without a key there is no such header, nor another."""
    with SessionsClient(sessions_api.base_url, key, api_key_prefix=prefix) as client:
        call(client, "create")
    assert sessions_api.last.headers["X-API-KEY"] == header
    assert sessions_api.last.headers["Authorization"] is None


def test_a_response_says_how_it_was(client: SessionsClient, sessions_api: SessionsAPI, call: Call) -> None:
    """Body, headers by any case, status and the seconds it took are there to be read."""
    sessions_api.answer = answer_always({"id": SESSION_ID}, 202, X_Request_Id="r-1")
    response = call(client, "create")
    assert response.body == {"id": SESSION_ID}
    assert response.headers["x-request-id"] == response.headers["X-REQUEST-ID"] == "r-1"
    assert response.status == 202
    assert 0 < response.round_trip_time < PATIENCE
    assert isinstance(response.response, requests.Response)


def test_many_calls_use_one_connection(client: SessionsClient, sessions_api: SessionsAPI) -> None:
    """The connection is kept between calls, after an error and an unreadable answer, too."""
    answers = [
        Answer(201, {"id": SESSION_ID}),
        Answer(404, {"detail": "no"}),
        Answer(200, b"<html>"),
        Answer(500, b""),
        Answer(301, b"moved", {"Location": "/"}),
    ]
    sessions_api.answer = lambda request: answers[len(sessions_api.requests) % len(answers)]

    def outcome() -> type:
        try:
            return type(client.create())
        except HLSessionsError as error:
            return type(error)

    outcomes = {outcome() for _ in range(20)}
    assert outcomes == {Response, NotFoundError, InvalidResponseError, ServerError, APIStatusError}
    assert len(sessions_api.requests) == 20
    assert sessions_api.connections == 1


def test_a_client_serves_many_threads(client: SessionsClient, sessions_api: SessionsAPI) -> None:
    """Calls that are under way at the same time get each its own answer."""
    together = threading.Barrier(8)

    def echo(request: Request) -> Answer:
        return Answer(200, {**RECORD, "id": request.target.rpartition("/")[2]})

    def get_several(_: int) -> bool:
        together.wait()
        wanted = [new_session_id() for _ in range(25)]
        return [client.get(session_id).body["id"] for session_id in wanted] == wanted

    sessions_api.answer = echo
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(get_several, range(8)))
    assert len(sessions_api.requests) == 200
    assert sessions_api.connections <= 8


@pytest.mark.parametrize("timeout", [0.2, (5, 0.2), (5.0, 0.2)], ids=["in-all", "pair", "pair-of-floats"])
def test_a_call_may_have_a_time_limit_of_its_own(
    serve: Callable[[Play], FaultServer], call: Call, timeout: Any
) -> None:
    """A single number limits the call in all, a pair the connection and the rest."""
    server = serve(lambda wire: None)
    rest = timeout[1] if isinstance(timeout, tuple) else timeout
    client = SessionsClient(server.base_url, timeout=60, retries=0)
    with client, ends_within(rest), pytest.raises(APITimeoutError):
        call(client, "create", timeout=timeout)


def test_making_a_connection_leaves_the_rest_its_time(sessions_api: SessionsAPI, call: Call) -> None:
    """A pair's first number limits the connection only, and a kept connection not at all."""
    slow = threading.Event()

    def answer(request: Request) -> Answer:
        slow.wait(0.15)
        return Answer(201, {"id": SESSION_ID})

    sessions_api.answer = answer
    # Connecting, of which alone there may be a next attempt, takes several ones on a busy machine.
    with SessionsClient(sessions_api.base_url, timeout=0.1, retries=1000) as client:
        assert call(client, "create", timeout=(0.1, PATIENCE)).status == 201
        assert call(client, "create", timeout=(0.1, PATIENCE)).status == 201
    assert len(sessions_api.requests) == 2


@pytest.mark.parametrize(
    "timeout",
    [0, -1, float("nan"), float("inf"), 10**400, True, "5", (), (1,), (1, 2, 3), (1, None), (0, 1), [1, 2]],
    ids=repr,
)
def test_a_wrong_time_limit_is_refused(
    client: SessionsClient, sessions_api: SessionsAPI, call: Call, timeout: Any
) -> None:
    """It is named, and nothing is sent."""
    with pytest.raises(ConfigurationError, match="timeout="):
        call(client, "create", timeout=timeout)
    assert sessions_api.requests == []


def test_deserialization_can_be_skipped(
    client: SessionsClient, sessions_api: SessionsAPI, call: Call
) -> None:
    """Any body is left as it came, and body and headers stay unset."""
    sessions_api.answer = answer_always(b"\xff not JSON", 201)
    response = call(client, "create", skip_deserialization=True)
    assert (response.body, response.headers, response.status) == (None, None, 201)
    assert [*response.response.iter_content(7)] == [b"\xff not J", b"SON"]
    assert response.response.content == b"\xff not JSON"


def test_content_can_be_streamed(serve: Callable[[Play], FaultServer], call: Call) -> None:
    """With ``stream`` the answer is there before its content, however long that is."""
    asked_for = threading.Event()
    size = 3 << 20

    def play(wire: Wire) -> None:
        wire.read_request()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        asked_for.wait(10)
        wire.send(b"x" * size)

    server = serve(play)
    with SessionsClient(server.base_url, retries=0) as client:
        response = call(client, "create", stream=True, skip_deserialization=True)
        asked_for.set()
        assert sum(map(len, response.response.iter_content(65536))) == size
        response.response.close()


def test_what_is_streamed_is_checked_unless_told_otherwise(
    client: SessionsClient, sessions_api: SessionsAPI, call: Call
) -> None:
    """``stream`` alone changes nothing about the answer, nor about its limits, for any status."""
    assert call(client, "create", stream=True).body["id"].startswith("sesh_")
    for status in (201, 400):
        sessions_api.answer = answer_always(b" " * (1 << 20) + b"1", status)
        with pytest.raises(InvalidResponseError, match="more than 1048576 bytes"):
            call(client, "create", stream=True)


def test_an_error_is_read_even_when_streaming(
    client: SessionsClient, sessions_api: SessionsAPI, call: Call
) -> None:
    """The error has its body, and its connection is free for the next call."""
    sessions_api.answer = answer_always({"detail": "no"}, 400)
    for _ in range(2):
        with pytest.raises(APIStatusError) as failure:
            call(client, "create", stream=True, skip_deserialization=True)
        assert failure.value.body == {"detail": "no"}
    assert sessions_api.connections == 1


def test_other_content_types_can_be_accepted(
    client: SessionsClient, sessions_api: SessionsAPI, call: Call
) -> None:
    """They replace the usual one in that call only."""
    call(client, "create", accept_content_types=("text/plain", "application/json"))
    assert sessions_api.last.headers["Accept"] == "text/plain, application/json"
    call(client, "create")
    assert sessions_api.last.headers["Accept"] == "application/json"


def test_content_types_are_several(client: SessionsClient, sessions_api: SessionsAPI, call: Call) -> None:
    """A plain string, which would be taken for a sequence of letters, is refused."""
    with pytest.raises(TypeError, match="accept_content_types"):
        call(client, "create", accept_content_types="application/json")
    assert sessions_api.requests == []


def test_cookies_are_not_kept(client: SessionsClient, sessions_api: SessionsAPI) -> None:
    """A cookie of one answer is not sent with the next call."""
    sessions_api.answer = answer_always({"id": SESSION_ID}, 201, Set_Cookie="a=b; Path=/")
    client.create()
    client.create()
    assert sessions_api.last.headers["Cookie"] is None


def test_netrc_is_not_used(
    sessions_api: SessionsAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password for the host in the user's netrc stays there, also after a redirect."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth(sessions_api.base_url) == ("somebody", "something")
    with SessionsClient(sessions_api.base_url, API_KEY) as client:
        client.create()
        with pytest.raises(APIStatusError):
            client.get(SESSION_ID)
    assert [request.headers["Authorization"] for request in sessions_api.requests] == [None, None]


@pytest.mark.parametrize("location", ["/v4/sessions", "http://[", "//other.invalid/", "\x00", ""], ids=repr)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    client: SessionsClient, sessions_api: SessionsAPI, status: int, location: str
) -> None:
    """A redirect, even to itself, ends at once as an error that shows it, wherever it leads."""
    sessions_api.answer = answer_always(b"", status, Location=location)
    with pytest.raises(APIStatusError) as failure:
        client.create()
    assert failure.value.status == status
    assert len(sessions_api.requests) == 1


PATH_IDS = [
    pytest.param("../projects", id="parent"),
    pytest.param("a/b", id="slash"),
    pytest.param("/", id="only-a-slash"),
    pytest.param("\\..\\x", id="backslash"),
    pytest.param("sesh_x?y=1#z", id="query-and-fragment"),
    pytest.param("...", id="three-dots"),
    pytest.param("%2e%2e", id="escaped-dots"),
    pytest.param("%2F", id="escaped-slash"),
    pytest.param("%", id="percent"),
    pytest.param("sesh_ü", id="umlaut"),
    pytest.param("sesh_\ud800", id="lone-surrogate"),
    pytest.param("sesh_\0", id="nul"),
    pytest.param("sesh_\r\nX-Injected: 1", id="line-break"),
    pytest.param(" ", id="space"),
    pytest.param("@other.invalid:80", id="authority"),
    pytest.param(";a=b", id="parameters"),
]


@pytest.mark.parametrize("session_id", PATH_IDS)
def test_an_id_is_one_segment_of_the_path(
    client: SessionsClient, sessions_api: SessionsAPI, call: Call, session_id: str
) -> None:
    """No ID leads to another path, query or header."""
    sessions_api.answer = answer_always(RECORD)
    call(client, "get", session_id)
    (request,) = sessions_api.requests
    segment = request.target.removeprefix("/v4/sessions/")
    assert segment != request.target
    assert segment
    assert not set(segment) & set("/?#\\ .;@")
    assert request.headers["X-Injected"] is None


@pytest.mark.parametrize(
    ("name", "args", "options", "error", "message"),
    [
        pytest.param("get", ("",), {}, ValueError, "id must not be empty", id="empty-id"),
        pytest.param("get", (None,), {}, TypeError, "id must be a str, not NoneType", id="no-id"),
        pytest.param("get", (b"sesh_x",), {}, TypeError, "id must be a str, not bytes", id="bytes"),
        pytest.param("list", ("",), {}, ValueError, "project_id must not be empty", id="empty-project"),
        pytest.param("list", (7,), {}, TypeError, "project_id must be a str, not int", id="project-number"),
        pytest.param("list", ("pr_1",), {"page": 0}, ValueError, "page=0", id="page-0"),
        pytest.param("list", ("pr_1",), {"page": True}, TypeError, "page must be an int", id="page-true"),
        pytest.param("list", ("pr_1",), {"size": -1}, ValueError, "size=-1", id="negative-size"),
        pytest.param("list", ("pr_1",), {"size": "9"}, TypeError, "size must be an int", id="size-text"),
        pytest.param("get", (".",), {}, ValueError, "id='.' is no ID", id="get-dot"),
        pytest.param("get", ("..",), {}, ValueError, r"id='\.\.' is no ID", id="get-dots"),
        pytest.param("iter", ("",), {}, ValueError, "project_id must not be empty", id="iter-empty-project"),
        pytest.param("iter", ("pr_1",), {"size": 0}, ValueError, "size=0", id="iter-size-0"),
    ],
)
def test_a_wrong_argument_is_named(
    *,
    client: SessionsClient,
    sessions_api: SessionsAPI,
    call: Call,
    name: str,
    args: tuple[Any, ...],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    """It is the caller's mistake: TypeError or ValueError, and nothing is sent."""
    with pytest.raises(error, match=message):
        call(client, name, *args, **options)
    assert sessions_api.requests == []


def test_the_base_url_may_end_with_a_slash(sessions_api: SessionsAPI) -> None:
    """The path has no double slash then."""
    sessions_api.answer = answer_always(RECORD)
    with SessionsClient(sessions_api.base_url + "/") as client:
        client.get(SESSION_ID)
    assert sessions_api.last.target == f"/v4/sessions/{SESSION_ID}"


def test_the_base_url_may_need_escapes(sessions_api: SessionsAPI) -> None:
    """All calls write it the same way."""
    sessions_api.answer = answer_always({**RECORD, "records": [], "page": 1, "size": 1, "total": 0})
    with SessionsClient(sessions_api.base_url + "/ü%20b") as client:
        client.create()
        client.list("pr_1")
        client.get(SESSION_ID)
    assert [request.target.partition("?")[0] for request in sessions_api.requests] == [
        "/v4/%C3%BC%20b/sessions",
        "/v4/%C3%BC%20b/sessions",
        f"/v4/%C3%BC%20b/sessions/{SESSION_ID}",
    ]


def test_a_closed_client_says_so(client: SessionsClient, sessions_api: SessionsAPI, call: Call) -> None:
    """A call after ``close`` is an error at once, and closing again does nothing."""
    client.close()
    client.close()
    with pytest.raises(APIConnectionError, match="closed"):
        call(client, "create")
    assert sessions_api.requests == []


def test_closing_closes_the_connections(serve: Callable[[Play], FaultServer], call: Call) -> None:
    """Kept connections end with the client."""

    def play(wire: Wire) -> None:
        wire.read_request()
        wire.send(CREATED)

    server = serve(play)
    with SessionsClient(server.base_url, retries=0) as client:
        call(client, "create")
    server.wait_until_all_closed()


def test_closing_lets_a_call_end(serve: Callable[[Play], FaultServer]) -> None:
    """One that is under way tries again if need be, and gets its answer; its connection is closed then."""
    arrived, go_on = threading.Event(), threading.Event()

    def play(wire: Wire) -> None:
        wire.read_request()
        if wire.server.opened == 1:
            arrived.set()
            go_on.wait(20)
            wire.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        wire.send(CREATED)

    server = serve(play)
    with SessionsClient(server.base_url, retries=1) as client:
        call = in_threads(client.create)[0]
        assert arrived.wait(20)
    go_on.set()
    assert call.result(20).body == {"id": SESSION_ID}
    server.wait_until_all_closed()


def test_a_proxy_of_the_environment_is_used(
    sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request for another host goes to the proxy, with the whole URL."""
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", sessions_api.base_url.removesuffix("/v4"))
    sessions_api.answer = answer_always(RECORD)
    with SessionsClient("http://api.invalid/v4", API_KEY, retries=0) as client:
        client.get("...")
    assert sessions_api.last.target == "http://api.invalid/v4/sessions/%2E%2E%2E"


def test_a_proxy_needs_no_thread(sessions_api: SessionsAPI) -> None:
    """In a process in which none can be started a call connects by itself."""
    sessions_api.answer = answer_always({"id": SESSION_ID}, 201)
    program = f"""
import threading, hl_sessions
threading.stack_size({MORE_THAN_THERE_IS})
with hl_sessions.SessionsClient("http://api.invalid/v4", retries=0) as client:
    print(client.create().body["id"])
"""
    environment = {**os.environ, "HTTP_PROXY": sessions_api.base_url.removesuffix("/v4"), "NO_PROXY": ""}
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (run.stdout, run.stderr) == (f"{SESSION_ID}\n", "")


def test_a_proxy_that_refuses_says_why(
    serve: Callable[[Play], FaultServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has its answer, whichever thread comes first."""

    def play(wire: Wire) -> None:
        wire.read_request()
        wire.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", f"http://{serve(play).address}")
    with SessionsClient("https://api.invalid/v4", API_KEY, retries=0) as client:
        for _ in range(10):
            with pytest.raises(APIConnectionError, match=r"ProxyError: .*407 Proxy Authentication Required"):
                client.create()


def test_first_calls_through_a_proxy_make_one_pool(
    sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if many threads begin at once: the connections of other pools would never be used again."""
    made, everybody = [], threading.Barrier(8)
    make = urllib3.proxy_from_url

    def make_slowly(*args: Any, **options: Any) -> Any:
        made.append(args)
        everybody_has_asked.wait(0.2)
        return make(*args, **options)

    def create() -> Any:
        everybody.wait(PATIENCE)
        return client.create()

    everybody_has_asked = threading.Event()
    monkeypatch.setattr("requests.adapters.proxy_from_url", make_slowly)
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", sessions_api.base_url.removesuffix("/v4"))
    sessions_api.answer = answer_always({"id": SESSION_ID}, 201)
    with SessionsClient("http://api.invalid/v4", retries=0) as client:
        assert all(call.result(PATIENCE).status == 201 for call in in_threads(create, 8))
    assert len(made) == 1
