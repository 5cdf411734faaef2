"""The conversation and the session of a request, alike with every gateway and framework."""

import asyncio
import functools
import gc
import io
import json
import logging
import uuid
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any
from wsgiref.util import setup_testing_defaults

import httpx2
import pytest
from django.conf import settings  # type: ignore[import-untyped]
from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped]
from django.http import (  # type: ignore[import-untyped]
    HttpRequest,
    HttpResponse,
    StreamingHttpResponse,
)
from django.test import override_settings  # type: ignore[import-untyped]
from django.urls import path as django_path  # type: ignore[import-untyped]

pytest.importorskip("fastapi")

from fastapi import Body, FastAPI
from flask import Flask
from flask import request as flask_request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from hl_sessions import (
    ConfigurationError,
    SessionManager,
    acurrent_session_id,
    current_session,
    current_session_id,
    log,
    with_session,
)
from hl_sessions.carrying import SharedSecret
from hl_sessions.integrations import asgi, incoming, starlette, wsgi
from hl_sessions.integrations.asgi import (
    SignedCookie,
    baggage,
    first,
    header,
    json_field,
    path_param,
    query,
)
from hl_sessions.integrations.flask import HLSessions
from hl_sessions.stores import MemoryStore
from tests.interpreters import collects_at_once
from tests.sessions_api import Answer, SessionsAPI, create_sessions
from tests.waiting import PATIENCE, StillClock, wait_until

SECRET = "a secret of many characters"
OTHER_SECRET = "another secret of many characters"
SESSION_ID = "sesh_0123456789abcdefghij"
HOST = "support.example"
FRAMEWORKS = [
    "starlette",
    "fastapi",
    "flask",
    "django wsgi",
    "django asgi",
    "django line wsgi",
    "django line asgi",
]

# Sends a request to /chats/{chat} of an application and gives the answer.
Send = Callable[..., httpx2.Response]
Serve = Callable[..., Send]


def django_chat(request: Any, chat: str) -> HttpResponse:
    return HttpResponse(f"{current_session_id()} {request.body.decode()}")


def django_stream(request: Any) -> StreamingHttpResponse:
    async def stream() -> AsyncIterator[str]:
        yield str(current_session_id())

    return StreamingHttpResponse(stream())


urlpatterns = [django_path("chats/<str:chat>", django_chat), django_path("stream", django_stream)]


@pytest.fixture(autouse=True)
def django_urls(django_project: None) -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


def make_app(framework: str, manager: SessionManager, options: dict[str, Any]) -> Any:
    """An application that answers with the session ID and the body of the request."""
    if framework == "starlette":

        async def chat(request: Request) -> PlainTextResponse:
            body = await request.body()
            return PlainTextResponse(f"{await acurrent_session_id()} {body.decode()}")

        routes = [Route("/chats/{chat}", chat, methods=["GET", "POST"])]
        return Starlette(
            routes=routes, middleware=[Middleware(starlette.HLSessionMiddleware, manager, **options)]
        )
    if framework == "fastapi":
        api = FastAPI()

        @api.api_route("/chats/{chat}", methods=["GET", "POST"], response_class=PlainTextResponse)
        def fastapi_chat(chat: str, body: Annotated[Any, Body()] = None) -> str:
            return f"{current_session_id()} {'' if body is None else json.dumps(body)}"

        api.add_middleware(starlette.HLSessionMiddleware, manager, **options)
        return api
    if framework == "flask":
        app = Flask(__name__)
        HLSessions(app, manager, **options)

        @app.route("/chats/<chat>", methods=["GET", "POST"])
        def flask_chat(chat: str) -> str:
            return f"{current_session_id()} {flask_request.get_data(as_text=True)}"

        return app
    if framework.startswith("django line"):
        make = get_wsgi_application if framework.endswith("wsgi") else get_asgi_application
        middleware = ["hl_sessions.integrations.django.HLSessionMiddleware"]
        with override_settings(MIDDLEWARE=middleware, HL_SESSIONS={"manager": manager, **options}):
            return make()
    if framework == "django wsgi":
        return wsgi.HLSessionMiddleware(get_wsgi_application(), manager, **options)
    return asgi.HLSessionMiddleware(get_asgi_application(), manager, **options)


@pytest.fixture
def serve(manager: SessionManager) -> Iterator[Serve]:
    clients: list[httpx2.Client] = []

    def serve(framework: str, base_url: str = "http://testserver", **options: Any) -> Send:
        app = make_app(framework, manager, options)
        if framework == "flask" or framework.endswith("wsgi"):
            client = httpx2.Client(transport=httpx2.WSGITransport(app), base_url=base_url)
        else:
            client = TestClient(app, base_url=base_url, client=("127.0.0.1", 50000))
        clients.append(client)

        def send(path: str = "/chats/1", **more: Any) -> httpx2.Response:
            method = "POST" if "json" in more or "content" in more else "GET"
            client.cookies.clear()
            answer = client.request(method, path, **more)
            assert answer.status_code == 200
            return answer

        return send

    yield serve
    for client in clients:
        client.close()


def session_of(answer: httpx2.Response) -> str:
    session_id, _, _ = answer.text.partition(" ")
    assert session_id.startswith("sesh_")
    return session_id


def signed(secret: SharedSecret, host: str = HOST) -> dict[str, str]:
    """The headers of a service that has the secret and calls this host."""
    return {"x-session-id": SESSION_ID, "x-session-signature": secret.sign(SESSION_ID, host)}


def in_environ(headers: dict[str, str]) -> dict[str, Any]:
    return {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}


def attributes_of(set_cookie: str) -> set[str]:
    """The headers of a cookie, in any order."""
    return set(set_cookie.split("; ")[1:])


@pytest.mark.parametrize("framework", FRAMEWORKS)
class TestKeys:
    def test_path_param(self, framework: str, serve: Serve) -> None:
        """Requests to one chat, by its route, are one session; another chat is another."""
        send = serve(framework, key=path_param("chat"))
        one, again, other = (session_of(send(f"/chats/{chat}")) for chat in ("1", "1", "2"))
        assert one == again != other

    def test_header(self, framework: str, serve: Serve) -> None:
        """The value of a header; without it each request has a session of its own."""
        send = serve(framework, key=header("X-Chat-ID"))
        one, again, other = (session_of(send(headers={"x-chat-id": chat})) for chat in ("1", "1 ", "2"))
        assert one == again != other
        assert len({session_of(send()) for _ in range(3)} | {one, other}) == 5

    @pytest.mark.parametrize("value", ["1, 1", "", "k" * 257])
    def test_header_that_is_no_key(self, framework: str, serve: Serve, value: str) -> None:
        """Several values, nothing, or too much count as none."""
        send = serve(framework, key=header("X-Chat-ID"))
        assert len({session_of(send(headers={"x-chat-id": value})) for _ in range(2)}) == 2

    def test_query(self, framework: str, serve: Serve) -> None:
        """A field of the query, decoded; several values, and what is no text, count as none."""
        send = serve(framework, key=query("chat"))
        queries = ["chat=a%20b", "x=1&chat=a+b", "chat=c", "chat=a&chat=a", "chat=%ff", "chat="]
        ids = [session_of(send(f"/chats/1?{each}")) for each in queries]
        assert ids[0] == ids[1]
        assert len({*ids}) == 5
        assert len({*ids} & {session_of(send(f"/chats/1?{each}")) for each in queries}) == 2

    def test_json_field(self, framework: str, serve: Serve) -> None:
        """A field of a JSON body, which the application can still read."""
        send = serve(framework, key=json_field("chat"))
        bodies = [{"chat": "7", "text": "Hello"}, {"chat": 7}, {"chat": "8"}]
        answers = [send(json=body) for body in bodies]
        one, again, other = map(session_of, answers)
        assert one == again != other
        assert [json.loads(answer.text.partition(" ")[2]) for answer in answers] == bodies

    @pytest.mark.parametrize(
        "body", [{}, [], None, {"chat": None}, {"chat": True}, {"chat": 1.5}, {"chat": ["7"]}, {"chat": ""}]
    )
    def test_json_that_has_no_key(self, framework: str, serve: Serve, body: Any) -> None:
        """Another type, or nothing there, counts as none; the application gets the body."""
        send = serve(framework, key=json_field("chat"))
        content = json.dumps(body)
        answers = [send(content=content, headers={"content-type": "application/json"}) for _ in range(2)]
        assert len({*map(session_of, answers)}) == 2
        got = answers[0].text.partition(" ")[2]
        assert json.loads(got or "null") == body

    def test_dotted_json_field(self, framework: str, serve: Serve) -> None:
        """A path through objects; a field that is named like all of it has precedence."""
        send = serve(framework, key=json_field("params.message.contextId"))
        bodies: list[Any] = [
            {"params": {"message": {"contextId": "7"}}},
            {"params": {"message": {"contextId": 7}}},
            {"params.message.contextId": "7", "params": {"message": {"contextId": "8"}}},
            {"params": {"message": {"contextId": "8"}}},
            {"params": {"message": "contextId"}},
            {"params": [{"message": {"contextId": "7"}}]},
            {"params.message.contextId": None, "params": {"message": {"contextId": "7"}}},
        ]
        ids = [session_of(send(json=body)) for body in bodies]
        assert ids[0] == ids[1] == ids[2]
        assert len({*ids}) == 5

    def test_baggage(self, framework: str, serve: Serve) -> None:
        """A member of the baggage, decoded and without its properties; only one value counts."""
        send = serve(framework, key=baggage("gen_ai.conversation.id"))
        headers = [
            "gen_ai.conversation.id=a%20%C3%A9%2C1",
            "user.id=7 , gen_ai.conversation.id = a%20%c3%a9%2C1 ;p=1;q, x=y",
            "gen_ai.conversation.id=a%20%C3%A9%2C1,gen_ai.conversation.id=a%20%C3%A9%2C1;p=2",
            "gen_ai.conversation.id=b",
            "gen_ai.conversation.id=b,gen_ai.conversation.id=c",
            "gen_ai.conversation.id=%ff",
            "gen_ai.conversation.id=",
            "gen_ai.conversation.id",
            "GEN_AI.conversation.id=b",
            f"gen_ai.conversation.id=b,x={'y' * 8192}",
        ]
        ids = [session_of(send(headers={"baggage": each})) for each in headers]
        assert ids[0] == ids[1] == ids[2]
        assert len({*ids}) == 8
        assert session_of(send(headers={"baggage": "gen_ai.conversation.id=b"})) == ids[3]

    def test_the_first_that_has_one(self, framework: str, serve: Serve) -> None:
        """Places are looked at in their order; what cannot be a key counts as none there, too."""
        key = first(header("X-Chat-ID"), json_field("sessionId"), json_field("session.id"), query("chat"))
        send = serve(framework, key=key)
        requests: list[dict[str, Any]] = [
            {"headers": {"X-Chat-ID": "1"}, "json": {"sessionId": "2"}},
            {"json": {"sessionId": "1", "session": {"id": "2"}}},
            {"json": {"sessionId": None, "session": {"id": "1"}}},
            {"headers": {"X-Chat-ID": "k" * 257}, "json": {"sessionId": 1}},
            {"path": "/chats/1?chat=1"},
            {"json": {"session": {"id": "2"}}},
            {},
        ]
        ids = [session_of(send(**request)) for request in requests]
        assert len({*ids[:5]}) == 1
        assert len({*ids}) == 3

    def test_first_with_the_route(self, framework: str, serve: Serve) -> None:
        """A parameter of the route is found where a header is missing."""
        send = serve(framework, key=first(header("X-Chat-ID"), path_param("chat")))
        one, again, other = (session_of(send(f"/chats/{chat}")) for chat in ("1", "1", "2"))
        assert one == again != other
        assert session_of(send("/chats/2", headers={"X-Chat-ID": "1"})) == one

    def test_each_field_has_a_limit_of_its_own(self, framework: str, serve: Serve) -> None:
        """A body that is too long for the first field is none for it, even if it is read for the second."""
        send = serve(framework, key=first(json_field("a", max_body=40), json_field("b")))
        bodies = [{"a": "1"}, {"a": "1", "b": "2"}, {"a": "1", "b": "2", "text": "x" * 40}, {"b": "2"}]
        ids = [session_of(send(json=body)) for body in bodies]
        assert ids[0] == ids[1] != ids[2] == ids[3]

    def test_function_of_the_request(self, framework: str, serve: Serve) -> None:
        """A function is given the framework's own request object when the ID is read."""
        seen: list[Any] = []

        def chat_of(request: Any) -> Any:
            seen.append(request)
            if isinstance(request, Request):
                return request.path_params["chat"]
            if isinstance(request, dict):
                return (request.get("path") or request["PATH_INFO"]).rpartition("/")[2]
            if isinstance(request, HttpRequest):
                return request.resolver_match.kwargs["chat"]
            return request.view_args["chat"]

        send = serve(framework, key=chat_of)
        one, again, other = (session_of(send(f"/chats/{chat}")) for chat in ("1", "1", "2"))
        assert one == again != other
        assert len(seen) == 3

    def test_function_that_raises(
        self, framework: str, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The request goes on without a key; one warning names the function, and shows nothing personal."""

        def broken_key(request: Any) -> str:
            raise KeyError("+49 171 5555555")

        send = serve(framework, key=broken_key)
        assert len({session_of(send()) for _ in range(3)}) == 3
        records = [record for record in caplog.records if record.name == "hl_sessions"]
        assert len(records) == 1
        assert "broken_key" in records[0].getMessage()
        assert "KeyError" in records[0].getMessage()
        assert "5555555" not in caplog.text

    @pytest.mark.usefixtures("broken_handler")
    def test_a_log_handler_that_raises(
        self, framework: str, serve: Serve, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It is shown, and the request goes on."""

        def broken_key(request: Any) -> str:
            raise KeyError

        send = serve(framework, key=broken_key)
        assert len({session_of(send()) for _ in range(2)}) == 2
        assert "the handler is broken" in capsys.readouterr().err

    def test_function_that_gives_no_key(
        self, framework: str, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        """None is no key; what cannot be one is warned of."""
        values: list[Any] = [None, None, ["a list"], "", uuid.UUID(int=1), uuid.UUID(int=1)]

        def chat_key(request: Any) -> Any:
            return values.pop(0)

        send = serve(framework, key=chat_key)
        ids = [session_of(send()) for _ in range(6)]
        assert len({*ids}) == 5
        assert ids[4] == ids[5]
        assert [record.levelno for record in caplog.records if record.name == "hl_sessions"] == [
            logging.WARNING
        ]

    @pytest.mark.parametrize("outer_decides", [True, False])
    def test_two_middlewares(
        self, framework: str, manager: SessionManager, sessions_api: SessionsAPI, *, outer_decides: bool
    ) -> None:
        """The outer one decides which conversation it is, if it says anything about that."""
        options: dict[str, Any] = {"key": header("outer")} if outer_decides else {}
        if framework == "flask":
            app = make_app("flask", manager, {"key": header("inner")})
            HLSessions(app, manager, **options)
            send = app.test_client().get
            texts = [
                send("/chats/1", headers={"outer": outer, "inner": inner}).text
                for outer, inner in [("1", "1"), ("1", "2"), ("2", "2")]
            ]
        else:
            inner = make_app(framework, manager, {"key": header("inner")})
            module = wsgi if framework.endswith("wsgi") else asgi
            outer_app = module.HLSessionMiddleware(inner, manager, **options)
            client: httpx2.Client = TestClient(outer_app)
            if module is wsgi:
                transport = httpx2.WSGITransport(outer_app)
                client = httpx2.Client(transport=transport, base_url="http://testserver")
            texts = [
                client.get("/chats/1", headers={"outer": outer, "inner": inner}).text
                for outer, inner in [("1", "1"), ("1", "2"), ("2", "2")]
            ]
            client.close()
        assert texts[0] != texts[2]
        assert texts[1] == (texts[0] if outer_decides else texts[2])
        assert sessions_api.posts == 2


@pytest.mark.parametrize("framework", FRAMEWORKS)
class TestCookie:
    def test_a_browser_keeps_its_conversation(self, framework: str, serve: Serve) -> None:
        """The cookie that the first answer sets leads the next requests into the same session."""
        send = serve(framework, cookie=SignedCookie(SECRET))
        first = send()
        value = first.headers["set-cookie"].strip()
        assert value.startswith("hl_session=")
        assert attributes_of(value) == {"Max-Age=2592000", "Path=/", "HttpOnly", "SameSite=Lax"}
        assert session_of(first) not in value
        pair = value.partition(";")[0]
        for cookie in (pair, f"a=b; {pair}; c=d", f"hl_session=forged; {pair}"):
            again = send(headers={"cookie": cookie})
            assert session_of(again) == session_of(first)
            assert "set-cookie" not in again.headers
        assert session_of(send()) != session_of(first)

    def test_is_secure_under_https(self, framework: str, serve: Serve) -> None:
        """Over HTTPS the cookie stays on HTTPS."""
        send = serve(framework, base_url="https://testserver", cookie=SignedCookie(SECRET, name="chat"))
        assert {"HttpOnly", "SameSite=Lax", "Secure"} < attributes_of(send().headers["set-cookie"])

    def test_what_is_not_ours_is_replaced(
        self,
        framework: str,
        serve: Serve,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Forged, foreign, expired, broken: each counts as none, and no log ever shows it."""
        caplog.set_level(logging.DEBUG, "hl_sessions")
        cookie = SignedCookie(SECRET, max_age=100)
        send = serve(framework, cookie=cookie)
        good = send().headers["set-cookie"].partition(";")[0].partition("=")[2]
        key, time, mac = good.split(".")
        expired = SignedCookie(SECRET)
        monkeypatch.setattr(expired._signer, "get_timestamp", lambda: cookie._signer.get_timestamp() - 101)
        future = SignedCookie(SECRET)
        monkeypatch.setattr(future._signer, "get_timestamp", lambda: cookie._signer.get_timestamp() + 60)
        bad = {
            "foreign secret": SignedCookie(OTHER_SECRET).header(key, is_secure=False),
            "foreign name": SignedCookie(SECRET, name="other").header(key, is_secure=False),
            "expired": expired.header(key, is_secure=False),
            "from the future": future.header(key, is_secure=False),
        }
        values = [text.partition(";")[0].partition("=")[2] for text in bad.values()]
        values += ["", "x", key, f"{key}.{time}", good[:-1], good + "A", good.replace(".", ""), "." * 3]
        values += [f"{'A' * 22}.{time}.{mac}", f"{key}.AAAAAA.{mac}", f'"{good}"', "%00", "A" * 100_000]
        ids = {session_of(send(headers={"cookie": f"hl_session={good}"}))}
        for value in values:
            answer = send(headers={"cookie": f"hl_session={value}"})
            assert answer.headers["set-cookie"].strip().startswith("hl_session="), value[:100]
            ids.add(session_of(answer))
        assert len(ids) == len(values) + 1
        assert good not in caplog.text
        assert key not in caplog.text

    def test_secrets_rotate(self, framework: str, serve: Serve) -> None:
        """The last of several secrets signs, all of them verify."""
        old = serve(framework, cookie=SignedCookie(SECRET))()
        both = serve(framework, cookie=SignedCookie([SECRET, OTHER_SECRET]))
        new = serve(framework, cookie=SignedCookie(OTHER_SECRET))
        pair = old.headers["set-cookie"].partition(";")[0]
        assert session_of(both(headers={"cookie": pair})) == session_of(old)
        assert session_of(new(headers={"cookie": pair})) != session_of(old)
        rotated = both()
        pair = rotated.headers["set-cookie"].partition(";")[0]
        assert session_of(new(headers={"cookie": pair})) == session_of(rotated)


def test_no_cookie_where_nobody_reads(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """It is set only when the session was really used, before the response starts."""

    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/late":
            await acurrent_session_id()
        await send({"type": "http.response.body", "body": b"ok"})

    client = TestClient(asgi.HLSessionMiddleware(nothing, manager, cookie=SignedCookie(SECRET)))
    assert "set-cookie" not in client.get("/").headers
    assert sessions_api.posts == 0
    assert "set-cookie" not in client.get("/late").headers
    client = TestClient(asgi.HLSessionMiddleware(nothing, manager, cookie=SignedCookie(SECRET), eager=True))
    assert "set-cookie" in client.get("/late").headers


def test_cookie_where_something_is_logged(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """The browser gets it although the ID is not read, and the session is created in the background."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        log(project="support", source="answer")
        start_response("200 OK", [])
        return []

    sessions_api.answer = lambda request: (
        Answer(201, []) if request.target.endswith("/logs") else create_sessions(request)
    )
    started: list[Any] = []
    middleware = wsgi.HLSessionMiddleware(app, manager, cookie=SignedCookie(SECRET))
    start: Any = lambda status, headers: started.append(dict(headers))  # noqa: E731
    middleware({}, start)
    middleware({"HTTP_COOKIE": started[0]["Set-Cookie"].partition(";")[0]}, start)
    assert "Set-Cookie" not in started[1]
    assert manager.flush(PATIENCE)
    creations = [request for request in sessions_api.requests if request.target.endswith("/sessions")]
    assert len(creations) == 1


def test_cookie_and_header_of_a_websocket(manager: SessionManager) -> None:
    """The handshake carries both; the next connection goes on."""

    async def chat(socket: WebSocket) -> None:
        session_id = await acurrent_session_id()
        await socket.accept()
        await socket.send_text(str(session_id))
        await socket.close()

    options: dict[str, Any] = {"cookie": SignedCookie(SECRET), "response_header": "X-Session-ID"}
    app = Starlette(
        routes=[WebSocketRoute("/", chat)],
        middleware=[Middleware(starlette.HLSessionMiddleware, manager, **options)],
    )
    with TestClient(app) as client:
        with client.websocket_connect("/") as socket:
            first = socket.receive_text()
            handshake = dict(socket.extra_headers or [])
        cookie = handshake[b"set-cookie"].decode()
        assert handshake[b"x-session-id"].decode() == first
        with client.websocket_connect("/", headers={"cookie": cookie.partition(";")[0]}) as socket:
            assert socket.receive_text() == first


def test_key_of_a_websocket(manager: SessionManager) -> None:
    """Functions are given Starlette's HTTPConnection."""
    seen: list[Any] = []

    def chat_of(connection: HTTPConnection) -> str:
        seen.append(connection)
        return connection.path_params["chat"]  # type: ignore[no-any-return]

    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(str(await acurrent_session_id()))
        await socket.close()

    app = Starlette(
        routes=[WebSocketRoute("/{chat}", chat)],
        middleware=[Middleware(starlette.HLSessionMiddleware, manager, key=chat_of)],
    )
    ids = []
    with TestClient(app) as client:
        for chat_id in ("a", "a", "b"):
            with client.websocket_connect(f"/{chat_id}") as socket:
                ids.append(socket.receive_text())
    assert ids[0] == ids[1] != ids[2]
    assert {type(each) for each in seen} == {HTTPConnection}


@pytest.mark.parametrize("framework", FRAMEWORKS)
class TestTrust:
    @pytest.mark.parametrize(
        "headers",
        [
            {"baggage": f"session.id={SESSION_ID}"},
            {"baggage": f"user.id=7 , session.id = {SESSION_ID};p=1,x=y"},
            {"x-session-id": SESSION_ID},
        ],
    )
    def test_a_trusted_caller_is_joined(
        self, framework: str, serve: Serve, headers: dict[str, str], sessions_api: SessionsAPI
    ) -> None:
        """A trusted caller's session is that of the request, without a call; others are ignored."""
        believed = serve(framework, trust=lambda request: True)
        assert session_of(believed(headers=headers)) == SESSION_ID
        assert sessions_api.posts == 0
        assert session_of(serve(framework, trust=lambda request: None)(headers=headers)) != SESSION_ID
        assert session_of(serve(framework)(headers=headers)) != SESSION_ID
        assert session_of(believed()) != SESSION_ID

    def test_networks(self, framework: str, serve: Serve) -> None:
        """Peers of the networks are trusted, others are not."""
        headers = {"x-session-id": SESSION_ID}
        assert (
            session_of(serve(framework, trust=["10.0.0.0/8", "127.0.0.0/8"])(headers=headers)) == SESSION_ID
        )
        assert session_of(serve(framework, trust=["10.0.0.0/8", "::1"])(headers=headers)) != SESSION_ID

    @pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "Via"])
    def test_networks_are_those_of_direct_peers(self, framework: str, serve: Serve, name: str) -> None:
        """What a request says of its origin makes nobody trusted: a forwarded one has no direct peer."""
        send = serve(framework, trust=["127.0.0.0/8", "10.0.0.0/8"])
        for origin in ("10.1.2.3", "127.0.0.1", ""):
            assert session_of(send(headers={"x-session-id": SESSION_ID, name: origin})) != SESSION_ID

    def test_networks_behind_a_proxy(self, framework: str, serve: Serve) -> None:
        """Of a request that comes from a named proxy the last hop is the peer, which that proxy has added."""
        send = serve(framework, trust=["10.0.0.0/8"], via_proxies=["127.0.0.1"])
        for hops, is_trusted in {
            "10.1.2.3": True,
            "192.0.2.1, 10.1.2.3": True,
            "10.1.2.3, 192.0.2.1": False,
            "10.1.2.3,": False,
            "unknown": False,
        }.items():
            answer = send(headers={"x-session-id": SESSION_ID, "X-Forwarded-For": hops})
            assert (session_of(answer) == SESSION_ID) is is_trusted, hops
        foreign = serve(framework, trust=["10.0.0.0/8"], via_proxies=["10.0.0.1"])
        answer = foreign(headers={"x-session-id": SESSION_ID, "X-Forwarded-For": "10.1.2.3"})
        assert session_of(answer) != SESSION_ID

    def test_shared_secret(self, framework: str, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
        """A signature over the ID, the time and the host is needed, and enough; others are told of once."""
        secret = SharedSecret(SECRET)
        send = serve(framework, trust=secret)
        headers = {"host": HOST, **signed(secret)}
        signature = headers["x-session-signature"]
        in_baggage = {"x-session-signature": signature, "host": f"{HOST}:8443"}
        in_baggage["baggage"] = f"session.id={SESSION_ID}"
        assert session_of(send(headers=headers)) == session_of(send(headers=in_baggage)) == SESSION_ID
        others: list[dict[str, str]] = [
            {"x-session-signature": ""},
            {"x-session-signature": SharedSecret(OTHER_SECRET).sign(SESSION_ID, HOST)},
            {"x-session-signature": signature[:-1]},
            {"x-session-id": SESSION_ID.replace("sesh_0", "sesh_1")},
            {"x-session-id": f"{SESSION_ID};signature={signature}"},
            {"x-session-signature": "", "baggage": f"session.id={SESSION_ID};signature={signature}"},
            {"host": "other.example"},
            {"host": "other.example", "x-forwarded-host": HOST},
        ]
        for other in others:
            answer = send(headers={**headers, **other})
            assert session_of(answer) not in {SESSION_ID, other.get("x-session-id")}, other
        [record] = [record for record in caplog.records if record.name == "hl_sessions"]
        assert "its X-Session-Signature is not valid" in record.getMessage()
        assert signature not in caplog.text

    def test_shared_secret_behind_a_proxy(self, framework: str, serve: Serve) -> None:
        """One that changes the host: the service says by which names it is called, and believes no other."""
        send = serve(framework, trust=SharedSecret(SECRET, hosts=[HOST, "chat.example"]))
        for called in (HOST, "chat.example", "127.0.0.1"):
            headers = {"host": "127.0.0.1:8000", **signed(SharedSecret(SECRET), called)}
            assert (session_of(send(headers=headers)) == SESSION_ID) is (called != "127.0.0.1")

    @pytest.mark.parametrize(
        "headers",
        [
            {"x-session-id": "sesh_"},
            {"x-session-id": "../../admin"},
            {"x-session-id": f"{SESSION_ID}x" * 100},
            {"x-session-id": f"{SESSION_ID}, {SESSION_ID}"},
            {"baggage": f"session.id={SESSION_ID},session.id=sesh_other"},
            {"baggage": f"session.id={SESSION_ID}", "x-session-id": "sesh_other"},
            {"baggage": "session.id=sesh_%00"},
        ],
    )
    def test_what_is_malformed_is_ignored(
        self, framework: str, serve: Serve, headers: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """An ID that is none, or not the only one, counts as none, and reaches no log."""
        assert session_of(serve(framework, trust=lambda request: True)(headers=headers)) not in str(headers)
        assert caplog.text == ""

    def test_predicate_that_raises(
        self, framework: str, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nobody is trusted then, and one warning names it."""

        def is_internal(request: Any) -> bool:
            raise RuntimeError("personal")

        send = serve(framework, trust=is_internal)
        assert session_of(send(headers={"x-session-id": SESSION_ID})) != SESSION_ID
        assert session_of(send(headers={"x-session-id": SESSION_ID})) != SESSION_ID
        (record,) = [record for record in caplog.records if record.name == "hl_sessions"]
        assert "is_internal" in record.getMessage()
        assert "personal" not in record.getMessage()

    def test_before_the_conversation(self, framework: str, serve: Serve) -> None:
        """A session that a trusted caller brings along has precedence over key and cookie."""
        headers = {"x-session-id": SESSION_ID, "x-chat-id": "1"}
        send = serve(framework, trust=["127.0.0.1"], key=header("X-Chat-ID"))
        assert session_of(send(headers=headers)) == SESSION_ID
        answer = serve(framework, trust=["127.0.0.1"], cookie=SignedCookie(SECRET))(headers=headers)
        assert session_of(answer) == SESSION_ID
        assert "set-cookie" not in answer.headers


def call_wsgi(app: Any, **environ: Any) -> None:
    """Run a WSGI application to its end."""
    body = app(environ, lambda *_: lambda _: None)
    for _ in body:
        pass
    getattr(body, "close", lambda: None)()


def test_a_warning_names_the_server(manager: SessionManager) -> None:
    """Django's of an asynchronous iterator, as without the middleware: nothing of ours has caused it."""
    places, bodies = [], []
    django: Any = get_wsgi_application()
    apps: list[Any] = [django, wsgi.HLSessionMiddleware(django, manager)]
    for app in apps:
        environ: dict[str, Any] = {"PATH_INFO": "/stream"}
        setup_testing_defaults(environ)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            body = app(environ, lambda *_: lambda _: None)
            for chunk in body:
                bodies.append(chunk)  # noqa: PERF402 - a server, of which the place is that of the "for"
            body.close()
        places += [(warning.filename, warning.lineno, str(warning.message)) for warning in caught]
    assert bodies[0] == b"None"
    assert bodies[1].startswith(b"sesh_")
    (bare, ours) = places
    assert ours == bare
    assert bare[0] == __file__
    assert "asynchronous iterators" in bare[2]


class TestCarelessCallables:
    """Likely mistakes of a user are safe."""

    def test_trust_that_has_to_be_awaited(
        self, manager: SessionManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It trusts no caller, although a coroutine is true."""

        async def check(environ: Any) -> bool:
            return False

        def app(environ: Any, start_response: Any) -> list[bytes]:
            assert current_session_id() != SESSION_ID
            return []

        middleware = wsgi.HLSessionMiddleware(app, manager, trust=lambda environ: check({**environ}))
        call_wsgi(middleware, HTTP_X_SESSION_ID=SESSION_ID)
        assert "trust" in caplog.text

    def test_key_that_has_to_be_awaited(
        self, manager: SessionManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is none."""

        def app(environ: Any, start_response: Any) -> list[bytes]:
            assert current_session_id() is not None
            assert current_session().key is None  # type: ignore[union-attr]
            return []

        call_wsgi(wsgi.HLSessionMiddleware(app, manager, key=lambda environ: _key({**environ})))
        assert "<lambda> returned an awaitable, its requests" in caplog.text

    def test_a_framework_that_fails_to_find_a_route(
        self, manager: SessionManager, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """There is no key then, and one warning."""
        monkeypatch.setattr("django.urls.resolve", lambda path: path.ROOT_URLCONF)

        def app(environ: Any, start_response: Any) -> list[bytes]:
            assert current_session_id() is not None
            return []

        call_wsgi(wsgi.HLSessionMiddleware(app, manager, key=path_param("chat")), PATH_INFO="/chats/1")
        assert "path_param('chat')" in caplog.text

    def test_a_django_without_urls(self, manager: SessionManager, caplog: pytest.LogCaptureFixture) -> None:
        """An application of another framework may use nothing but its models."""
        keys = []

        def app(environ: Any, start_response: Any) -> list[bytes]:
            keys.append(current_session().key)  # type: ignore[union-attr]
            return []

        key = first(path_param("chat"), header("X-Chat-ID"))
        with override_settings():
            del settings.ROOT_URLCONF
            call_wsgi(wsgi.HLSessionMiddleware(app, manager, key=key), HTTP_X_CHAT_ID="7")
        assert keys == ["7"]
        assert not caplog.text


class TestAsyncKeys:
    """A function that has to be awaited, as to ask a database, under ASGI."""

    @pytest.mark.parametrize("kind", ["function", "partial", "object"])
    @pytest.mark.parametrize("framework", ["starlette", "fastapi", "django asgi"])
    def test_is_awaited_before_the_application(self, framework: str, kind: str, serve: Serve) -> None:
        """The first read may be one of sync code, and finds the key."""

        class Key:
            async def __call__(self, request: Any) -> str | None:
                await asyncio.sleep(0)
                if isinstance(request, Request):
                    return request.headers.get("x-chat-id")
                return dict(request["headers"]).get(b"x-chat-id", b"").decode() or None

        key: Any = Key()
        if kind != "object":
            key = functools.partial(Key.__call__, key) if kind == "partial" else key.__call__
        send = serve(framework, key=key)
        one, again, other = (session_of(send(headers={"x-chat-id": chat})) for chat in ("1", "1", "2"))
        assert one == again != other
        assert len({session_of(send()) for _ in range(2)} | {one, other}) == 4

    def test_one_that_fails(self, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
        """The request goes on without a key, and one warning names the function."""

        async def broken_key(request: Request) -> str:
            raise KeyError("+49 171 5555555")

        send = serve("starlette", key=broken_key)
        assert len({session_of(send()) for _ in range(2)}) == 2
        (record,) = [record for record in caplog.records if record.name == "hl_sessions"]
        assert "broken_key failed with a KeyError" in record.getMessage()

    def test_what_cannot_be_a_key(self, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
        """It counts as none, and is warned of."""

        async def list_of_keys(request: Request) -> Any:
            return ["1"]

        send = serve("starlette", key=list_of_keys)
        assert len({session_of(send()) for _ in range(2)}) == 2
        assert "list_of_keys failed with a TypeError" in caplog.text

    def test_runs_in_no_session(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """The session that the server has left in the context is that of another request."""
        seen: list[Any] = []

        async def key(scope: Any) -> str:
            seen.append(await acurrent_session_id())
            return "1"

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(current_session().key)  # type: ignore[union-attr]

        async def serve() -> None:
            with manager.session():
                middleware: Any = asgi.HLSessionMiddleware(app, manager, key=key)
                await middleware({"type": "http", "headers": []}, None, None)

        asyncio.run(serve())
        assert seen == [None, "1"]
        assert sessions_api.requests == []

    def test_with_eager(self, serve: Serve) -> None:
        """The session that is created before the application runs is that of the conversation."""

        async def key(request: Request) -> str:
            return request.headers["x-chat-id"]

        send = serve("starlette", key=key, eager=True)
        one, again, other = (session_of(send(headers={"x-chat-id": chat})) for chat in ("1", "1", "2"))
        assert one == again != other

    def test_a_session_that_is_brought_along(self, serve: Serve) -> None:
        """It takes precedence, and no key is looked up."""
        asked: list[Any] = []

        async def key(request: Request) -> str:
            asked.append(request)
            return "1"

        secret = SharedSecret(SECRET)
        send = serve("starlette", key=key, trust=secret)
        assert session_of(send(headers={"host": HOST, **signed(secret)})) == SESSION_ID
        send = serve("starlette", key=key, trust=["127.0.0.1"])
        assert session_of(send(headers={"x-session-id": SESSION_ID})) == SESSION_ID
        assert asked == []
        assert session_of(send()) == session_of(send())
        assert len(asked) == 2

    def test_one_around_decides(self, manager: SessionManager) -> None:
        """The middleware inside of it does not ask."""

        async def never(scope: Any) -> str:
            raise AssertionError("nobody needs it")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert current_session().key == "outer"  # type: ignore[union-attr]
            await PlainTextResponse("ok")(scope, receive, send)

        inner = asgi.HLSessionMiddleware(app, manager, key=never)
        client = TestClient(asgi.HLSessionMiddleware(inner, manager, key=lambda scope: "outer"))
        assert client.get("/").status_code == 200

    def test_of_a_websocket(self, manager: SessionManager) -> None:
        """It is given Starlette's HTTPConnection."""

        async def key(connection: HTTPConnection) -> str:
            assert type(connection) is HTTPConnection
            return connection.query_params["chat"]

        async def chat(socket: WebSocket) -> None:
            await socket.accept()
            await socket.send_text(str(await acurrent_session_id()))
            await socket.close()

        app = Starlette(
            routes=[WebSocketRoute("/", chat)],
            middleware=[Middleware(starlette.HLSessionMiddleware, manager, key=key)],
        )
        ids = []
        with TestClient(app) as client:
            for chat_id in ("a", "a", "b"):
                with client.websocket_connect(f"/?chat={chat_id}") as socket:
                    ids.append(socket.receive_text())
        assert ids[0] == ids[1] != ids[2]


def test_an_early_look_does_not_spoil_the_key(manager: SessionManager) -> None:
    """A look for the key before the router has run finds none; a later read finds it."""

    async def chat(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{await acurrent_session_id()} {current_session().key}")  # type: ignore[union-attr]

    inner = Starlette(routes=[Route("/rooms/{chat}", chat)])

    async def looking(scope: Any, receive: Any, send: Any) -> None:
        assert current_session().key is None  # type: ignore[union-attr]
        await inner(scope, receive, send)

    client = TestClient(asgi.HLSessionMiddleware(looking, manager, key=path_param("chat")))
    texts = [client.get("/rooms/1").text for _ in range(2)]
    assert texts[0] == texts[1]
    assert texts[0].endswith(" 1")


def test_inner_middleware_of_another_manager_has_a_key_of_its_own(
    manager: SessionManager, other_manager: SessionManager
) -> None:
    """It is no second middleware of the same sessions."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert current_session().key == "inner"  # type: ignore[union-attr]
        with manager.session() as outer:
            assert outer.key == "outer"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    inner = asgi.HLSessionMiddleware(app, other_manager, key=lambda scope: "inner")
    client = TestClient(asgi.HLSessionMiddleware(inner, manager, key=lambda scope: "outer"))
    assert client.get("/").status_code == 200


def test_cookie_of_a_response_that_starts_twice(manager: SessionManager) -> None:
    """Both starts have it, as only the second one is sent."""
    started: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        current_session_id()
        start_response("200 OK", [])
        start_response("500 Internal Server Error", [], (ValueError, ValueError(), None))
        return []

    middleware = wsgi.HLSessionMiddleware(app, manager, cookie=SignedCookie(SECRET))
    middleware({}, lambda status, headers, *_: started.append(headers))  # type: ignore[arg-type]
    assert started[0] == started[1] != []


def test_cookie_while_the_api_is_down() -> None:
    """A browser's datapoints stay together by the reference ID, so it gets its cookie."""
    references: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        references.append(current_session().log_params())  # type: ignore[union-attr]
        start_response("200 OK", [])
        return []

    started: list[Any] = []
    with SessionManager("http://127.0.0.1:9/v4", retries=0) as manager:
        middleware = wsgi.HLSessionMiddleware(app, manager, cookie=SignedCookie(SECRET))
        start: Any = lambda status, headers: started.append(dict(headers))  # noqa: E731
        middleware({}, start)
        middleware({"HTTP_COOKIE": started[0]["Set-Cookie"].partition(";")[0]}, start)
    assert references[0] == references[1]
    assert "session_reference_id" in references[0]


@pytest.mark.parametrize(
    ("client", "is_trusted"),
    [
        (("10.1.2.3", 50000), True),
        (("::ffff:10.1.2.3", 50000), True),
        (("::ffff:11.1.2.3", 50000), False),
        (("a name", 50000), False),
        (None, False),
    ],
    ids=["IPv4", "IPv4 in IPv6", "another", "no address", "a Unix socket"],
)
def test_peer_of_a_trusted_network(
    manager: SessionManager, client: tuple[str, int] | None, is_trusted: object
) -> None:
    """An IPv4 address is the same one in IPv6, and a peer without an address is of no network."""
    app = make_app("starlette", manager, {"trust": ["10.0.0.0/8"]})

    async def seen(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "client": client}, receive, send)

    answer = TestClient(seen).get("/chats/1", headers={"x-session-id": SESSION_ID})
    assert (session_of(answer) == SESSION_ID) is is_trusted


def test_no_repr_shows_a_secret() -> None:
    """A cookie may stand in a log."""
    assert repr(SignedCookie(SECRET)) == "SignedCookie(name='hl_session')"


def test_two_valid_cookies_are_none(manager: SessionManager) -> None:
    """One may have been planted from a neighbouring domain: neither counts."""
    cookie = SignedCookie(SECRET)
    one, two = (cookie.header(key * 22, is_secure=False).partition(";")[0] for key in "AQ")
    assert cookie.key([f"{one}; {two}"]) is None
    assert cookie.key([f"{one}; {one}"]) == "A" * 22


class TestBodies:
    """The application can read the body that json_field has read, in any number of pieces."""

    LIMIT = 100

    @pytest.mark.parametrize("length", [50, 100, 101, 5_000])
    @pytest.mark.parametrize("has_length", [True, False])
    def test_wsgi(self, manager: SessionManager, length: int, *, has_length: bool) -> None:
        body = json.dumps({"chat": "7", "text": ""}).encode()
        body = body.replace(b'""', b'"' + b"x" * (length - len(body)) + b'"')

        def app(environ: Any, start_response: Any) -> list[bytes]:
            session = current_session()
            assert session is not None
            assert session.key == ("7" if length <= self.LIMIT else None)
            assert environ["wsgi.input"].read() == body
            start_response("200 OK", [])
            return []

        environ: dict[str, Any] = {
            "CONTENT_TYPE": "application/json; charset=utf-8",
            "wsgi.input": io.BytesIO(body),
            "wsgi.input_terminated": True,
        }
        if has_length:
            environ["CONTENT_LENGTH"] = str(len(body))
        middleware = wsgi.HLSessionMiddleware(app, manager, key=json_field("chat", max_body=self.LIMIT))
        assert middleware(environ, lambda *_: lambda _: None) == []

    @pytest.mark.parametrize(
        "environ",
        [
            {"CONTENT_LENGTH": "-1"},
            {"CONTENT_LENGTH": "many"},
            {"CONTENT_LENGTH": ""},
            {"CONTENT_LENGTH": "14", "CONTENT_TYPE": "text/plain"},
            {},
        ],
    )
    def test_wsgi_body_that_is_left_alone(self, manager: SessionManager, environ: dict[str, str]) -> None:
        body = io.BytesIO(b'{"chat": "7"}')

        def app(environ: Any, start_response: Any) -> list[bytes]:
            assert current_session().key is None  # type: ignore[union-attr]
            assert environ["wsgi.input"] is body
            return []

        environ = {"CONTENT_TYPE": "application/json", **environ}
        middleware = wsgi.HLSessionMiddleware(app, manager, key=json_field("chat"))
        middleware({**environ, "wsgi.input": body}, lambda *_: lambda _: None)
        assert body.tell() == 0

    def test_wsgi_body_that_cannot_be_read(self, manager: SessionManager) -> None:
        class Broken(io.RawIOBase):
            def read(self, size: int = -1) -> bytes:
                raise OSError("the client has gone away")

        def app(environ: Any, start_response: Any) -> list[bytes]:
            with pytest.raises(OSError, match="gone away"):
                environ["wsgi.input"].read()
            return []

        middleware = wsgi.HLSessionMiddleware(app, manager, key=json_field("chat"))
        environ = {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": "10", "wsgi.input": Broken()}
        assert middleware(environ, lambda *_: lambda _: None) == []

    @pytest.mark.parametrize("pieces", [1, 3, 50])
    @pytest.mark.parametrize("length", [50, 100, 101, 5_000])
    def test_asgi(self, manager: SessionManager, length: int, pieces: int) -> None:
        body = json.dumps({"chat": "7", "text": ""}).encode()
        body = body.replace(b'""', b'"' + b"x" * (length - len(body)) + b'"')
        size = -(-len(body) // pieces)
        chunks = [body[start : start + size] for start in range(0, len(body), size)]
        messages: list[Any] = [
            {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
            for number, chunk in enumerate(chunks, start=1)
        ]
        messages.append({"type": "http.disconnect"})
        sent = list(messages)

        async def receive() -> Any:
            return messages.pop(0)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert current_session().key == ("7" if length <= self.LIMIT else None)  # type: ignore[union-attr]
            assert [await receive() for _ in sent] == sent

        async def send(_: Any) -> None: ...

        scope = {"type": "http", "headers": [(b"content-type", b"application/problem+json")]}
        middleware = asgi.HLSessionMiddleware(app, manager, key=json_field("chat", max_body=self.LIMIT))
        asyncio.run(middleware(scope, receive, send))

    def test_asgi_client_that_goes_away(self, manager: SessionManager) -> None:
        messages: list[Any] = [
            {"type": "http.request", "body": b'{"chat"', "more_body": True},
            {"type": "http.disconnect"},
        ]

        async def receive() -> Any:
            return messages.pop(0)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert current_session().key is None  # type: ignore[union-attr]
            assert [(await receive())["type"] for _ in range(2)] == ["http.request", "http.disconnect"]

        async def send(_: Any) -> None: ...

        scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}
        asyncio.run(asgi.HLSessionMiddleware(app, manager, key=json_field("chat"))(scope, receive, send))


class Unread(dict[str, Any]):
    """The scope of a request in which nobody may look for anything that its client has sent."""

    def get(self, name: str, default: Any = None) -> Any:
        assert not name.startswith("HTTP_")
        return super().get(name, default)


class Unreadable:
    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        raise AssertionError("nobody has read the session")


OPTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "key": lambda: {"key": header("X-Chat-ID")},
    "trust": lambda: {"trust": SharedSecret(SECRET)},
    "cookie": lambda: {"cookie": SignedCookie(SECRET)},
    "all": lambda: {
        "trust": SharedSecret(SECRET),
        "cookie": SignedCookie(SECRET),
    },
}


class TestLooking:
    """A request is looked up at the first read, with the same result as at once."""

    @pytest.mark.parametrize("options", OPTIONS)
    def test_nobody_reads(self, manager: SessionManager, options: str) -> None:
        """Then nothing is looked up, neither in the request nor where the response starts."""

        def app(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return []

        async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def send(message: Any) -> None: ...

        async def receive() -> Any: ...

        for _ in range(2):  # the first request of a middleware is not like the others
            wsgi_app = wsgi.HLSessionMiddleware(app, manager, **OPTIONS[options]())
            wsgi_app(Unread(), lambda *_: lambda _: None)
            scope = {"type": "http", "headers": Unreadable()}
            middleware = asgi.HLSessionMiddleware(asgi_app, manager, **OPTIONS[options]())
            asyncio.run(middleware(scope, receive, send))

    @pytest.mark.parametrize("framework", ["flask", "starlette"])
    def test_who_never_creates_sees_a_trusted_session(
        self, framework: str, manager: SessionManager, sessions_api: SessionsAPI
    ) -> None:
        """As a filter of logging does: the ID that came with the request is there without any read."""
        seen: list[Any] = []

        def look() -> None:
            session = current_session()
            assert session is not None
            seen.append((current_session_id(create=False), session.peek(), repr(session)))

        async def chat(request: Request) -> PlainTextResponse:
            look()
            return PlainTextResponse(str(current_session().key))  # type: ignore[union-attr]

        secret = SharedSecret(SECRET)
        options: dict[str, Any] = {"trust": secret, "key": header("X-Chat-ID"), "response_header": "X-ID"}
        headers = {"host": HOST, "x-chat-id": "1", **signed(secret)}
        client: Any
        if framework == "flask":
            flask = Flask(__name__)
            HLSessions(flask, manager, **options)
            flask.add_url_rule("/", view_func=lambda: look() or str(current_session().key))  # type: ignore[union-attr,func-returns-value]
            client = flask.test_client()
        else:
            middleware = [Middleware(starlette.HLSessionMiddleware, manager, **options)]
            client = TestClient(Starlette(routes=[Route("/", chat)], middleware=middleware))
        answer = client.get("/", headers=headers)
        assert seen == [(SESSION_ID, SESSION_ID, f"<RequestSession {SESSION_ID}>")]
        assert answer.text == "None"  # whose session it is decides, not the key
        assert answer.headers["X-ID"] == SESSION_ID
        assert "X-ID" not in client.get("/", headers={"x-chat-id": "1"}).headers
        assert sessions_api.posts == 0

    @pytest.mark.parametrize(("age", "is_trusted"), [(200, True), (400, False)])
    def test_a_signature_counts_as_of_its_arrival(
        self, manager: SessionManager, monkeypatch: pytest.MonkeyPatch, age: int, *, is_trusted: bool
    ) -> None:
        """Also if the first read of the request is late."""
        clock = StillClock()
        for module in (wsgi, incoming):
            monkeypatch.setattr(module, "monotonic", clock.monotonic)
        secret = SharedSecret(SECRET)
        now = secret._signer.get_timestamp()
        monkeypatch.setattr(secret._signer, "get_timestamp", lambda: now + int(clock.offset))
        environ = in_environ({"host": HOST, **signed(secret)})
        clock.offset += age

        def app(environ: Any, start_response: Any) -> list[bytes]:
            clock.offset += 1_000
            assert (current_session_id() == SESSION_ID) is is_trusted
            clock.offset += 1_000
            assert (current_session_id() == SESSION_ID) is is_trusted
            return []

        wsgi.HLSessionMiddleware(app, manager, trust=secret)(environ, lambda *_: lambda _: None)

    def test_a_function_is_asked_at_once(self, manager: SessionManager) -> None:
        """Later somebody else may stand for the peer, as behind a middleware that believes in headers."""

        def app(environ: Any, start_response: Any) -> list[bytes]:
            environ["REMOTE_ADDR"] = "10.1.2.3"
            assert current_session_id() != SESSION_ID
            return []

        trusts: list[Any] = [lambda environ: environ["REMOTE_ADDR"].startswith("10."), ["10.0.0.0/8"]]
        for trust in trusts:
            call_wsgi(
                wsgi.HLSessionMiddleware(app, manager, trust=trust),
                HTTP_X_SESSION_ID=SESSION_ID,
                REMOTE_ADDR="192.0.2.1",
            )

    def test_scheme_at_the_arrival(self, manager: SessionManager) -> None:
        """What is inside of the middleware and changes the scheme does not change the cookie."""

        def app(environ: Any, start_response: Any) -> list[bytes]:
            environ["wsgi.url_scheme"] = "http"
            current_session_id()
            start_response("200 OK", [])
            return []

        started: list[Any] = []
        middleware = wsgi.HLSessionMiddleware(app, manager, cookie=SignedCookie(SECRET))
        start: Any = lambda status, headers: started.append(dict(headers))  # noqa: E731
        middleware({"wsgi.url_scheme": "https"}, start)
        assert started[0]["Set-Cookie"].endswith("; Secure")

    @pytest.mark.parametrize("is_sent", [True, False])
    def test_inner_middleware_decides_if_nobody_is_trusted(
        self, manager: SessionManager, *, is_sent: bool
    ) -> None:
        """An outer one that only trusts decides nothing about a request that brings no session along."""
        secret = SharedSecret(SECRET)
        headers = in_environ({"host": HOST, **signed(secret)}) if is_sent else {}

        def app(environ: Any, start_response: Any) -> list[bytes]:
            session = current_session()
            assert session is not None
            assert (session.id == SESSION_ID, session.key) == (is_sent, None if is_sent else "1")
            return []

        inner = wsgi.HLSessionMiddleware(app, manager, key=lambda environ: "1")
        call_wsgi(wsgi.HLSessionMiddleware(inner, manager, trust=secret), **headers)

    @collects_at_once
    @pytest.mark.parametrize("options", ["trust", "cookie", "all"])
    def test_a_request_leaves_nothing_to_collect(self, manager: SessionManager, options: str) -> None:
        """Its handle does not hold what holds it: requests that nobody reads are over when they end."""
        handles: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            handles.append(weakref.ref(current_session()))

        async def send(message: Any) -> None: ...

        async def receive() -> Any: ...

        middleware = asgi.HLSessionMiddleware(app, manager, **OPTIONS[options]())
        gc.disable()
        try:
            for _ in range(2):
                asyncio.run(middleware({"type": "http", "headers": []}, receive, send))
            assert [handle() for handle in handles] == [None, None]
        finally:
            gc.enable()

    @pytest.mark.parametrize("options", ["key", "trust"])
    def test_a_session_that_is_ready_is_taken(self, sessions_api: SessionsAPI, options: str) -> None:
        """Where the request has no conversation, the first read of a task needs no thread."""
        seen: list[str | None] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(await acurrent_session_id())

        async def send(message: Any) -> None: ...

        async def receive() -> Any: ...

        with SessionManager(sessions_api.base_url, prefetch=1) as manager:
            with manager.session() as session:
                assert session.id is not None
            ready_sessions = manager.ready_sessions
            assert ready_sessions is not None
            wait_until(lambda: ready_sessions.ready)
            ready = ready_sessions.ready[0][0]
            middleware = asgi.HLSessionMiddleware(app, manager, **OPTIONS[options]())
            asyncio.run(middleware({"type": "http", "headers": []}, receive, send))
            assert seen == [ready]
            assert manager.workers._executor is None


class TestLife:
    @pytest.mark.parametrize("framework", ["starlette", "flask"])
    def test_idle_time_runs_between_requests(
        self, framework: str, sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From the end of the last request that read to the beginning of the next."""
        touched: list[str] = []
        store = MemoryStore()
        monkeypatch.setattr(store, "touch", lambda key, reference_id: touched.append(reference_id))
        with SessionManager(sessions_api.base_url, store=store, idle_timeout=60) as manager:
            app = make_app(framework, manager, {"key": header("X-Chat-ID")})
            client: Any = app.test_client() if framework == "flask" else TestClient(app)
            answer = client.get("/chats/1", headers={"X-Chat-ID": "1"})
            answer.close()  # as a server does
        assert answer.text.startswith("sesh_")
        assert touched == [store.reference_id(store.entry_key(sessions_api.base_url, "1"), max_idle=None)]

    def test_streamed_body_is_in_use_to_its_end(self, sessions_api: SessionsAPI) -> None:
        """A WSGI conversation is left when the server closes the body."""
        with SessionManager(sessions_api.base_url, idle_timeout=60) as manager:

            def app(environ: Any, start_response: Any) -> Iterator[bytes]:
                yield str(current_session_id()).encode()

            middleware = wsgi.HLSessionMiddleware(app, manager, key=lambda environ: "1")
            body: Any = middleware({}, lambda *_: lambda _: None)
            assert next(body).startswith(b"sesh_")
            assert list(manager.conversations._in_use._sessions) == ["1"]
            body.close()
            assert manager.conversations._in_use._sessions == {}

    def test_conversation_that_ends_in_a_request(self, serve: Serve, manager: SessionManager) -> None:
        """After manager.end() the next request starts a new session, which knows the one before."""
        send = serve("starlette", key=header("X-Chat-ID"))
        first = session_of(send(headers={"X-Chat-ID": "1"}))
        manager.end("1")
        second = session_of(send(headers={"X-Chat-ID": "1"}))
        assert second != first
        with manager.session(key="1") as session:
            assert (session.id, session.previous_id) == (second, first)

    @pytest.mark.parametrize("key", [header("X-Chat-ID"), path_param("chat")])
    def test_request_that_ends_its_conversation(self, manager: SessionManager, key: Any) -> None:
        """Before it has read its ID: it is of that conversation, also if only the route has the key."""

        async def end(request: Request) -> PlainTextResponse:
            session = current_session()
            assert session is not None
            session.end()
            return PlainTextResponse(f"{await session.aid()} ")

        async def read(request: Request) -> PlainTextResponse:
            return PlainTextResponse(f"{await acurrent_session_id()} ")

        app = Starlette(
            routes=[Route("/chats/{chat}", read), Route("/chats/{chat}/end", end)],
            middleware=[Middleware(starlette.HLSessionMiddleware, manager, key=key)],
        )
        paths = ("/chats/1", "/chats/1/end", "/chats/1")
        with TestClient(app, headers={"X-Chat-ID": "1"}) as client:
            first, ending, next_one = (session_of(client.get(path)) for path in paths)
        assert first == ending != next_one

    def test_decorated_handler_of_the_same_conversation(self, manager: SessionManager) -> None:
        """A handler with the key of the request joins it; one with another key does not."""

        @with_session(manager=manager, key="chat")
        def answer(chat: str) -> str | None:
            return current_session_id()

        def app(environ: Any, start_response: Any) -> list[bytes]:
            assert answer("1") == current_session_id() != answer("2")
            start_response("200 OK", [])
            return []

        wsgi.HLSessionMiddleware(app, manager, key=lambda environ: "1")({}, lambda *_: lambda _: None)

    def test_reading_function(self, manager: SessionManager) -> None:
        """A key function that reads the ID, as its logging may, gets None and does no harm."""
        seen: list[str | None] = []

        def key(environ: Any) -> str:
            seen.append(current_session_id())
            return "1"

        def app(environ: Any, start_response: Any) -> list[bytes]:
            assert current_session_id() is not None
            assert current_session().key == "1"  # type: ignore[union-attr]
            return []

        wsgi.HLSessionMiddleware(app, manager, key=key)({}, lambda *_: lambda _: None)
        assert seen == [None]

    def test_nobody_reads(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """Then no key is looked for, and no call is made."""

        def key(environ: Any) -> str:
            raise AssertionError("nobody needs it")

        def app(environ: Any, start_response: Any) -> list[bytes]:
            return []

        wsgi.HLSessionMiddleware(app, manager, key=key)({}, lambda *_: lambda _: None)
        assert sessions_api.requests == []


async def _key(scope: Any) -> str:
    return ""


class _AsyncKey:
    async def __call__(self, scope: Any) -> str:
        return ""


async def _app(scope: Any, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "chat"}, "key must be callable, such as header('X-Chat-ID'), not str"),
        ({"key": header}, "key=header makes keys; call it, such as header('X-Chat-ID')"),
        ({"key": header("X-Chat-ID"), "cookie": SignedCookie(SECRET)}, "key and cookie exclude each other"),
        ({"cookie": SECRET}, "cookie must be a SignedCookie, not str"),
        ({"trust": SECRET}, "trust must be a list of networks"),
        ({"trust": []}, "trust=[] trusts no caller"),
        ({"trust": ["10.0.0.0/99"]}, "trust: '10.0.0.0/99'"),
        ({"trust": ["10.0.0.1/8"]}, "has host bits set"),
        ({"trust": [SECRET, 7]}, "trust: "),
        ({"trust": 7}, "trust must be callable, not int"),
        ({"via_proxies": ["127.0.0.1"]}, "via_proxies goes with networks in trust"),
        ({"trust": lambda _: True, "via_proxies": ["127.0.0.1"]}, "via_proxies goes with networks in trust"),
        ({"trust": ["10.0.0.0/8"], "via_proxies": "127.0.0.1"}, "via_proxies must be a list of networks"),
        ({"trust": ["10.0.0.0/8"], "via_proxies": ["nginx"]}, "via_proxies: 'nginx'"),
        ({"trust": _key}, "trust must be a plain function"),
    ],
)
def test_wrong_option(options: dict[str, Any], message: str) -> None:
    """It is a ConfigurationError when the middleware is made."""
    for module in (asgi, wsgi):
        with pytest.raises(ConfigurationError) as caught:
            module.HLSessionMiddleware(lambda *_: None, **options)
        assert message in str(caught.value)
    with pytest.raises(ConfigurationError):
        HLSessions(Flask(__name__), **options)


def test_wsgi_cannot_await_a_key() -> None:
    """An asynchronous function is a ConfigurationError there, which names a way out."""
    for key in (_key, functools.partial(_key), _AsyncKey()):
        with pytest.raises(ConfigurationError, match=r"key must be a plain function.*json_field"):
            wsgi.HLSessionMiddleware(lambda *_: [], key=key)
        with pytest.raises(ConfigurationError, match="key must be a plain function"):
            HLSessions(Flask(__name__), key=key)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: header("a b"), "name='a b' is not the name of a header"),
        (lambda: query(""), "name='' must be"),
        (lambda: path_param(7), "name=7 must be"),  # type: ignore[arg-type]
        (lambda: json_field("a", max_body=0), "max_body=0"),
        (lambda: baggage("a b"), "name='a b' is not the name of a member of baggage"),
        (first, "first() needs keys"),
        (lambda: first(header("a"), str), "not type; one function"),  # type: ignore[arg-type]
        (lambda: SignedCookie("short"), "value not shown"),
        (lambda: SignedCookie([]), "without a secret"),
        (lambda: SignedCookie(SECRET, name="a;b"), "name='a;b'"),
        (lambda: SignedCookie(SECRET, max_age=0), "max_age=0"),
    ],
)
def test_wrong_setting(make: Callable[[], object], message: str) -> None:
    """It is a ConfigurationError that names it, and shows no secret."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert message in str(caught.value)
    assert "short" not in str(caught.value).replace("too short", "")


def test_a_route_is_not_known_before_the_application_runs(manager: SessionManager) -> None:
    """eager=True creates the session before: a ConfigurationError."""
    for key in (path_param("chat"), first(header("X-Chat-ID"), path_param("chat"))):
        with pytest.raises(ConfigurationError, match=r"path_param\('chat'\).*eager"):
            asgi.HLSessionMiddleware(_app, manager, key=key, eager=True)


def test_settings_of_flask(sessions_api: SessionsAPI) -> None:
    """The options can be settings, too; those that concern the manager make one."""
    app = Flask(__name__)
    app.config.update(
        HL_SESSIONS_BASE_URL=sessions_api.base_url,
        HL_SESSIONS_STORE=MemoryStore(),
        HL_SESSIONS_PREFETCH=1,
        HL_SESSIONS_KEY=header("X-Chat-ID"),
        HL_SESSIONS_TRUST=["127.0.0.1"],
    )
    HLSessions(app)
    app.add_url_rule("/", view_func=lambda: str(current_session_id()))
    send = app.test_client().get
    ids = [send("/", headers={"X-Chat-ID": chat}).text for chat in ("1", "1", "2")]
    assert ids[0] == ids[1] != ids[2]
    assert send("/", headers={"X-Session-ID": SESSION_ID}).text == SESSION_ID
