"""The line for Django's MIDDLEWARE, under WSGI and ASGI."""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

pytest.importorskip("django")

from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]
from django.core.cache import cache  # type: ignore[import-untyped]
from django.core.signals import request_finished  # type: ignore[import-untyped]
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped]
from django.http import (  # type: ignore[import-untyped]
    FileResponse,
    HttpRequest,
    HttpResponse,
    StreamingHttpResponse,
)
from django.template import engines  # type: ignore[import-untyped]
from django.template.response import SimpleTemplateResponse  # type: ignore[import-untyped]
from django.test import AsyncClient, Client, override_settings  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from django.utils.deprecation import MiddlewareMixin  # type: ignore[import-untyped]

import hl_sessions.defaults
from hl_sessions import (
    ConfigurationError,
    Session,
    SessionManager,
    acurrent_session_id,
    configure,
    current_session,
    current_session_id,
)
from hl_sessions.integrations import asgi, wsgi
from hl_sessions.integrations.django import SignedCookie, session_of
from tests.integrations.conftest import SESSION_ID, Address, ServeASGI, running_waitress
from tests.sessions_api import SessionsAPI
from tests.waiting import wait_until

LINE = "hl_sessions.integrations.django.HLSessionMiddleware"
HEADER = "X-Session-ID"
SECRET = "a secret of many characters"
# Django says so of each stream of the kind that is not the server's.
pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")

Read = tuple[str, str | None]
seen: list[Read] = []  # the readers in the project below, and what they read


def read(reader: str, *_: Any, **__: Any) -> str:
    session_id = current_session_id()
    seen.append((reader, session_id))
    return str(session_id)


def closing(response: Any) -> Any:
    response._resource_closers.append(lambda: read("closer"))
    return response


def unread(request: HttpRequest) -> HttpResponse:
    assert request.hl_session is current_session()
    return HttpResponse("unread")


def view(request: HttpRequest) -> HttpResponse:
    assert request.hl_session is session_of(request) is current_session()
    return closing(HttpResponse(read("view")))


async def async_view(request: HttpRequest) -> HttpResponse:
    assert request.hl_session is session_of(request) is current_session()
    assert await acurrent_session_id() == await sync_to_async(current_session_id)()
    return closing(HttpResponse(read("view")))


def chunks() -> Iterator[str]:
    try:
        for _ in range(3):
            yield read("chunk") + " "
    finally:
        read("finally")


async def async_chunks() -> AsyncIterator[str]:
    try:
        for _ in range(3):
            await asyncio.sleep(0)
            yield read("chunk") + " "
    finally:
        read("finally")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return closing(StreamingHttpResponse(chunks()))


def list_stream(request: HttpRequest) -> StreamingHttpResponse:
    read("view")
    return closing(StreamingHttpResponse(["a", "b"]))


async def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    return closing(StreamingHttpResponse(async_chunks()))


class ReadingFile(io.BytesIO):
    def read(self, *size: Any) -> bytes:
        read("file")
        return super().read(*size)


def file(request: HttpRequest) -> FileResponse:
    return closing(FileResponse(ReadingFile(b"0123456789" * 10_000)))


def template(request: HttpRequest) -> SimpleTemplateResponse:
    return closing(
        SimpleTemplateResponse(
            engines["django"].from_string("{{ read }}"), {"read": lambda: read("template")}
        )
    )


def fail(request: HttpRequest) -> HttpResponse:
    raise LookupError(read("view"))


async def async_fail(request: HttpRequest) -> HttpResponse:
    raise LookupError(read("view"))


def interrupt(request: HttpRequest) -> HttpResponse:
    read("view")
    raise KeyboardInterrupt


def uncached(request: HttpRequest) -> HttpResponse:
    return HttpResponse(read("view"))


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    return closing(HttpResponse(read("error page"), status=404))


def handler500(request: HttpRequest) -> HttpResponse:
    return closing(HttpResponse(read("error page"), status=500))


async def endless_chunks() -> AsyncIterator[str]:
    try:
        yield read("chunk")
        await asyncio.Event().wait()
    finally:
        read("finally")


async def endless_stream(request: HttpRequest) -> StreamingHttpResponse:
    return closing(StreamingHttpResponse(endless_chunks()))


urlpatterns = [
    path("unread", unread),
    path("view", view),
    path("async_view", async_view),
    path("stream", stream),
    path("list_stream", list_stream),
    path("async_stream", async_stream),
    path("file", file),
    path("template", template),
    path("fail", fail),
    path("async_fail", async_fail),
    path("interrupt", interrupt),
    path("uncached", uncached),
    path("endless", endless_stream),
]
# The readers in a request for each of them, beside the middleware within, and what is told of the end.
READERS = {
    "view": {"view", "closer"},
    "async_view": {"view", "closer"},
    "template": {"template", "closer"},
    "fail": {"view", "error page", "closer"},
    "async_fail": {"view", "error page", "closer"},
    "missing": {"error page", "closer"},
    "stream": {"chunk", "finally", "closer"},
    "list_stream": {"view", "closer"},
    "async_stream": {"chunk", "finally", "closer"},
}


class Classic(MiddlewareMixin):  # type: ignore[misc] # Django has no types
    """A middleware as most are."""

    def process_request(self, request: HttpRequest) -> None:
        read("request")

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        read("response")
        return response


class SyncOnly:
    """A middleware that has Django run all before it in threads."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        read("sync only")
        return self.get_response(request)


@contextmanager
def project(manager: SessionManager | None, *inside: str, **options: Any) -> Iterator[None]:
    """The settings, with the line for MIDDLEWARE and what is inside of it."""
    if manager is not None:
        options["manager"] = manager
    with override_settings(
        MIDDLEWARE=[LINE, *(f"{__name__}.{name}" for name in inside)], HL_SESSIONS=options
    ):
        yield


@pytest.fixture(autouse=True)
def django_urls(django_project: None) -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__, TEMPLATES=TEMPLATES):
        yield
    seen.clear()


TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]


@pytest.fixture(autouse=True)
def finished() -> Iterator[None]:
    """What is told of the end of each request reads, too, but those that nobody has read before."""

    def finish(**_: Any) -> None:
        seen.append(("finished", current_session_id(create=False)))

    request_finished.connect(finish)
    yield
    request_finished.disconnect(finish)


@pytest.fixture(params=["waitress", "uvicorn"])
def served(request: pytest.FixtureRequest, serve_asgi: ServeASGI) -> Iterator[Callable[[], Address]]:
    """Serves the project, with the settings of now."""
    servers = []

    def serve() -> Address:
        if request.param == "uvicorn":
            return serve_asgi(get_asgi_application())
        servers.append(running_waitress(get_wsgi_application(), threads=8))
        return servers[-1].__enter__()

    yield serve
    for server in servers:
        server.__exit__(None, None, None)


def url(address: Address, place: str) -> str:
    return f"http://127.0.0.1:{address[1]}/{place}"


def get(place: str, gateway: str) -> Any:
    """The answer to one of Django's test clients, which close it; of a stream, at its end."""
    if gateway == "wsgi":
        answer = Client(raise_request_exception=False).get(f"/{place}")
        if answer.streaming:
            b"".join(answer)
        return answer

    async def aget() -> Any:
        answer = await AsyncClient(raise_request_exception=False).get(f"/{place}")
        if answer.streaming:
            b"".join([part async for part in answer])
        return answer

    return asyncio.run(aget())


GATEWAYS = pytest.mark.parametrize("gateway", ["wsgi", "asgi"])


def answered(ends: int = 1) -> list[Read]:
    """The IDs that were read in requests whose end was reported."""
    wait_until(lambda: [reader for reader, _ in seen].count("finished") >= ends)
    reads = list(seen)
    seen.clear()
    return reads


def test_all_of_a_request_is_in_one_session(
    served: Callable[[], Address], manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Under real servers: views, streams of both kinds, templates, error pages, and what is closed."""
    with project(manager, "Classic", response_header=HEADER):
        address = served()
    with httpx2.Client() as client:
        for number, (place, readers) in enumerate(READERS.items(), start=1):
            answer = client.get(url(address, place))
            assert answer.status_code == {"fail": 500, "async_fail": 500, "missing": 404}.get(place, 200)
            reads = answered()
            assert {reader for reader, _ in reads} == readers | {"request", "response", "finished"}
            assert {session_id for _, session_id in reads} == {answer.headers[HEADER]}
            assert sessions_api.posts == number


def test_nobody_reads(
    served: Callable[[], Address], manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Then no call is made, and the header is left out."""
    with project(manager, response_header=HEADER):
        address = served()
    answer = httpx2.get(url(address, "unread"))
    assert answer.text == "unread"
    assert HEADER not in answer.headers
    assert sessions_api.requests == []


def test_a_file_is_sent_by_the_server(served: Callable[[], Address], manager: SessionManager) -> None:
    """As fast as without the middleware: WSGI servers have a way of their own, which closes the response."""
    with project(manager):
        address = served()
    assert httpx2.get(url(address, "file")).content == b"0123456789" * 10_000
    reads = dict(answered())
    assert {"file", "closer", "finished"} == {*reads}
    assert reads["closer"] is not None


@pytest.mark.parametrize("is_sending", [False, True], ids=["in a step", "between steps"])
def test_a_client_that_goes_away(manager: SessionManager, leaves: list[Session], *, is_sending: bool) -> None:
    """The stream is cancelled in the session, which is left then."""

    async def run() -> None:
        has_to_go = asyncio.Event()
        messages = [{"type": "http.request"}]

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await has_to_go.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                has_to_go.set()
                if is_sending:
                    await asyncio.Event().wait()

        with project(manager, key=lambda _: "1"):
            app = get_asgi_application()
        await app(SCOPE | {"path": "/endless"}, receive, send)

    asyncio.run(run())
    reads = dict(answered())
    assert {"chunk", "closer", "finished"} <= {*reads}
    if not is_sending:  # else Django leaves the stream behind, for the end of the loop
        assert reads["finally"] == reads["chunk"]
    assert reads["chunk"] == reads["closer"] == reads["finished"] is not None
    assert len(leaves) == 1


SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "scheme": "http",
    "query_string": b"",
    "headers": [(b"host", b"test")],
}


@pytest.fixture
def leaves(manager: SessionManager, monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    """The ends of scopes of conversations."""
    left: list[Session] = []
    monkeypatch.setattr(manager.conversations, "become_idle", True)
    monkeypatch.setattr(manager.conversations, "leave", left.append)
    return left


@GATEWAYS
def test_the_scope_of_a_conversation_is_left_once(
    gateway: str, manager: SessionManager, leaves: list[Session]
) -> None:
    """For every kind of answer, however often it is closed."""
    for number, place in enumerate(["unread", *READERS, "file"], start=1):
        with project(manager, key=lambda _: "1"):
            get(place, gateway).close()
        assert len(leaves) == number


@GATEWAYS
def test_the_scope_of_a_view_that_is_ended_is_left(
    gateway: str, manager: SessionManager, leaves: list[Session]
) -> None:
    """What no middleware catches, as the end of the process, leaves nothing behind."""
    with project(manager, key=lambda _: "1"), pytest.raises(KeyboardInterrupt):
        get("interrupt", gateway)
    assert len(leaves) == 1


@GATEWAYS
def test_a_conversation_is_in_use_to_the_end_of_its_stream(gateway: str, sessions_api: SessionsAPI) -> None:
    """It grows idle when that is closed."""
    with SessionManager(sessions_api.base_url, idle_timeout=60) as manager:
        in_use = manager.conversations._in_use._sessions

        def note(request: Any) -> str:
            return "1"

        with project(manager, key=note):
            if gateway == "wsgi":
                content = iter(Client().get("/stream"))
                assert next(content)
                assert list(in_use) == ["1"]
                assert [*content]
            else:
                asyncio.run(read_in_parts(in_use))
        assert in_use == {}


async def read_in_parts(in_use: dict[str, Any]) -> None:
    content = aiter(await AsyncClient().get("/async_stream"))
    assert await anext(content)
    assert list(in_use) == ["1"]
    assert [part async for part in content]


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_scope_within_a_stream(manager: SessionManager, *, is_finished: bool) -> None:
    """It is current in all steps of it, and what is closed afterwards is in that of the request."""

    def chunks() -> Iterator[str]:
        read("outside")
        with manager.session(new=True):
            try:
                for _ in range(2):
                    yield read("inside")
            finally:
                read("inside")
        read("outside")

    def view(request: HttpRequest) -> StreamingHttpResponse:
        return closing(StreamingHttpResponse(chunks()))

    with project(manager), urls(path("", view)):
        response = Client().get("/")
        content = iter(response)
        assert next(content)
        assert current_session() is None
        if is_finished:
            assert [*content]
        else:
            response.close()
    ids = {reader: {session_id for name, session_id in seen if name == reader} for reader in dict(seen)}
    assert [len(each) for each in ids.values()] == [1] * len(ids)
    assert ids["outside"] == ids["closer"] == ids["finished"] != ids["inside"]


def test_interleaved_streams_keep_apart(manager: SessionManager) -> None:
    """Each has the session of its request, and what consumes them is in none."""

    async def run() -> list[set[str]]:
        contents = [aiter(await AsyncClient().get("/async_stream")) for _ in range(3)]
        parts: list[set[str]] = [set(), set(), set()]
        for _ in range(3):
            for content, ids in zip(contents, parts, strict=True):
                ids.add((await anext(content)).decode())
                assert current_session() is None
        return parts

    with project(manager):
        parts = asyncio.run(run())
    assert [len(ids) for ids in parts] == [1, 1, 1]
    assert len(set.union(*parts)) == 3


def test_concurrent_requests_keep_apart(served: Callable[[], Address], manager: SessionManager) -> None:
    """Streams of threads and tasks that run at the same time have one session each."""
    with project(manager):
        address = served()
    places = ["stream", "async_stream"] * 8
    with httpx2.Client() as client, ThreadPoolExecutor(8) as threads:
        texts = [answer.text for answer in threads.map(lambda place: client.get(url(address, place)), places)]
    assert [len({*text.split()}) for text in texts] == [1] * 16
    assert len({*texts}) == 16


@GATEWAYS
@pytest.mark.parametrize("inside", ["Classic", "SyncOnly"])
@pytest.mark.parametrize("place", ["view", "async_view", "stream", "async_stream"])
def test_other_middleware_makes_no_difference(
    place: str, inside: str, gateway: str, manager: SessionManager
) -> None:
    """Also where it makes Django change between threads and the event loop."""
    with project(manager, inside, response_header=HEADER):
        answer = get(place, gateway)
    assert {session_id for _, session_id in seen} == {answer.headers[HEADER]}


@GATEWAYS
@pytest.mark.parametrize("place", ["view", "stream", "async_stream", "fail"])
def test_a_middleware_around_the_application_is_joined(
    place: str, gateway: str, manager: SessionManager, sessions_api: SessionsAPI, leaves: list[Session]
) -> None:
    """There is one session, one cookie and one end."""
    cookie = SignedCookie(SECRET)
    with project(manager, "Classic", response_header=HEADER, cookie=cookie):
        if gateway == "wsgi":
            app: Any = wsgi.HLSessionMiddleware(get_wsgi_application(), manager, cookie=cookie)
            client = httpx2.Client(transport=httpx2.WSGITransport(app), base_url="http://test")
        else:
            app = asgi.HLSessionMiddleware(get_asgi_application(), manager, cookie=cookie)
            client = TestClient(app)
    answer = client.get(f"/{place}")
    client.close()
    assert {session_id for _, session_id in answered()} == {answer.headers[HEADER]}
    assert len(answer.headers.get_list("Set-Cookie")) == 1
    assert sessions_api.posts == 1
    assert len(leaves) == 1


@GATEWAYS
def test_the_request_knows_the_session_of_a_middleware_around(gateway: str, manager: SessionManager) -> None:
    """Without the line, too."""
    known: list[bool] = []

    def note(request: HttpRequest) -> HttpResponse:
        known.append(session_of(request) is current_session() is not None)
        return HttpResponse()

    with override_settings(MIDDLEWARE=[]), urls(path("", note)):
        if gateway == "wsgi":
            app: Any = wsgi.HLSessionMiddleware(get_wsgi_application(), manager)
            httpx2.Client(transport=httpx2.WSGITransport(app), base_url="http://test").get("/")
        else:
            TestClient(asgi.HLSessionMiddleware(get_asgi_application(), manager)).get("/")
        assert (
            session_of(get("", gateway).wsgi_request if gateway == "wsgi" else get("", gateway).asgi_request)
            is None
        )
    assert known == [True, False]


@GATEWAYS
def test_what_a_cache_keeps_of_a_response(gateway: str, manager: SessionManager) -> None:
    """A response can be pickled, and the copy is closed in the session of its own request."""
    caching = [f"django.middleware.cache.{name}CacheMiddleware" for name in ("Update", "FetchFrom")]
    settings = {"MIDDLEWARE": [caching[0], LINE, caching[1]], "HL_SESSIONS": {"manager": manager}}
    cache.clear()
    with override_settings(**settings):
        first, second = get("uncached", gateway), get("uncached", gateway)
    assert first.content == second.content
    assert [reader for reader, _ in seen] == ["view", "finished", "finished"]
    assert seen[0][1] == seen[1][1] != seen[2][1]


@pytest.mark.parametrize("debug", [False, True])
@GATEWAYS
def test_error_pages_tell_the_session(gateway: str, manager: SessionManager, *, debug: bool) -> None:
    """That of the project, and in debug mode that of Django."""
    with override_settings(DEBUG=debug), project(manager, response_header=HEADER):
        for place, status in {"fail": 500, "async_fail": 500, "missing": 404}.items():
            answer = get(place, gateway)
            assert answer.status_code == status
            assert SESSION_ID.fullmatch(answer.headers.get(HEADER, "")) or (place, debug) == ("missing", True)


@GATEWAYS
def test_a_header_of_the_project_stays(gateway: str, manager: SessionManager) -> None:
    """As it does with the other middlewares."""

    def tell(request: HttpRequest) -> HttpResponse:
        read("view")
        return HttpResponse(headers={HEADER.lower(): "mine"})

    with project(manager, response_header=HEADER), urls(path("", tell)):
        assert get("", gateway).headers[HEADER] == "mine"


@pytest.mark.parametrize("option", [{"response_header": HEADER}, {"cookie": SignedCookie(SECRET)}])
@GATEWAYS
def test_a_response_that_many_are_answered_with_tells_each_of_its_own_session(
    gateway: str, option: Any, manager: SessionManager
) -> None:
    """Nobody gets the session of another one, nor the conversation of another browser."""
    shared = HttpResponse("pong", headers={"X-Own": "1"})
    shared.set_cookie("own", "1")

    def ping(request: HttpRequest) -> HttpResponse:
        read("view")
        return shared

    with project(manager, **option), urls(path("", ping)):
        answers = [get("", gateway) for _ in range(2)]
    told = [answer.headers.get(HEADER) or answer.cookies["hl_session"].value for answer in answers]
    assert len(set(told)) == 2
    assert all(answer.headers["X-Own"] == answer.cookies["own"].value == "1" for answer in answers)


@GATEWAYS
def test_settings_of_the_environment(
    gateway: str, sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without settings the default manager opens the session."""
    with override_settings(MIDDLEWARE=[LINE]), configure(sessions_api.base_url):
        assert SESSION_ID.fullmatch(get("view", gateway).content.decode())


@GATEWAYS
def test_a_wrong_setting_of_the_environment(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start it is told of; later on a request has no session, and is answered."""
    with (
        override_settings(MIDDLEWARE=[LINE]),
        urls(path("", lambda request: HttpResponse(str(request.hl_session)))),
    ):
        make = get_wsgi_application if gateway == "wsgi" else get_asgi_application
        client: Any = Client() if gateway == "wsgi" else AsyncClient()
        client.handler.load_middleware(*([True] if gateway == "asgi" else []))
        monkeypatch.setenv("HL_SESSIONS_BASE_URL", "nonsense")
        with pytest.raises(ConfigurationError, match=r"^HL_SESSIONS_BASE_URL"):
            make()
        monkeypatch.setattr(hl_sessions.defaults._default.said_wrong, "said", True)
        answer = client.get("/")
        answer = answer if gateway == "wsgi" else asyncio.run(answer)
        assert answer.content == b"None"


@pytest.mark.parametrize("make", [get_wsgi_application, get_asgi_application])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([("key", None)], "HL_SESSIONS must be a dict, not list"),
        ({"kee": None}, "unknown setting HL_SESSIONS['kee']; there are cookie, key, manager, "),
        ({"eager": True, 7: 7}, "unknown setting HL_SESSIONS[7], HL_SESSIONS['eager']; there are"),
        ({"manager": "http://127.0.0.1"}, "HL_SESSIONS['manager'] must be a SessionManager, not str"),
        ({"key": "chat"}, "HL_SESSIONS['key'] must be callable, such as header('X-Chat-ID'), not str"),
        ({"cookie": SECRET}, "HL_SESSIONS['cookie'] must be a SignedCookie, not str"),
        ({"trust": SECRET}, "HL_SESSIONS['trust'] must be a list of networks"),
        ({"trust": ["10.0.0.0/99"]}, "HL_SESSIONS['trust']: '10.0.0.0/99'"),
        ({"via_proxies": ["10.0.0.1"]}, "HL_SESSIONS['via_proxies'] goes with networks in trust"),
        ({"response_header": "a b"}, "HL_SESSIONS['response_header']"),
    ],
)
def test_a_wrong_setting_is_named_at_the_start(make: Callable[[], Any], options: Any, message: str) -> None:
    """Before the first request, as one of the settings of the project."""
    with override_settings(MIDDLEWARE=[LINE], HL_SESSIONS=options):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert str(caught.value).startswith(message)
        assert SECRET not in str(caught.value)


@GATEWAYS
def test_the_settings_of_the_guide(gateway: str, manager: SessionManager) -> None:
    """They do what they say: a chat, by its route, is one session, which a header tells."""
    page = (Path(__file__).parents[2] / "docs" / "web-django.md").read_text()
    block = next(
        block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "MIDDLEWARE" in block
    )
    project: dict[str, Any] = {}
    exec(block, project)
    settings = {name: value for name, value in project.items() if name.isupper()}
    settings["HL_SESSIONS"]["manager"] = manager

    def chat(request: HttpRequest, chat: str) -> HttpResponse:
        return HttpResponse(read("view"))

    with override_settings(**settings), urls(path("chats/<str:chat>", chat)):
        answers = [get(f"chats/{chat}", gateway) for chat in (1, 1, 2)]
    first, again, other = (answer.content.decode() for answer in answers)
    assert first == again != other
    assert [answer.headers[HEADER] for answer in answers] == [first, again, other]


@contextmanager
def urls(*patterns: Any) -> Iterator[None]:
    """Serve these instead."""
    with override_settings(ROOT_URLCONF=patterns):
        yield
