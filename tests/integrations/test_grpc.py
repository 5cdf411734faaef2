"""gRPC's servers and clients, sync and aio."""

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest

from hl_sessions import (
    ConfigurationError,
    SessionManager,
    acurrent_session_id,
    bind,
    current_session,
    current_session_id,
)
from hl_sessions.carrying import SharedSecret
from tests.integrations.conftest import SESSION_ID
from tests.interpreters import bare_threads
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE, wait_until

pytest.importorskip("grpc")

import grpc
import grpc.aio

from hl_sessions.integrations.grpc import (
    AioServerInterceptor,
    ClientInterceptor,
    ServerInterceptor,
    aio_client_interceptors,
    header,
)

SECRET = SharedSecret("a secret of many characters")
SESSION = "sesh_" + "1" * 32
KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]


class Methods:
    """Of all kinds, the names of which say which; each answers with what it reads, and how often."""

    def unary_unary(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        return self.read()

    def stream_unary(self, requests: Iterable[bytes], context: grpc.ServicerContext) -> bytes:
        (only,) = {self.read() for _ in requests}
        return only

    def unary_stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in range(2):
            yield self.read()

    def stream_stream(self, requests: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        return map(lambda _: self.read(), requests)  # noqa: C417 - an iterator that is no generator

    def fails(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        self.read()
        raise ValueError

    def aborts(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata([("session", self.read().decode())])
        context.abort(grpc.StatusCode.NOT_FOUND, "there is none")
        raise AssertionError("unreachable")

    def metadata(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        return repr([tuple(each) for each in context.invocation_metadata()]).encode()

    @staticmethod
    def read() -> bytes:
        return (current_session_id() or "none").encode()


class AioMethods:
    async def unary_unary(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        return await self.read()

    async def stream_unary(self, requests: AsyncIterator[bytes], context: grpc.ServicerContext) -> bytes:
        (only,) = {await self.read() async for _ in requests}
        return only

    async def unary_stream(self, request: bytes, context: grpc.ServicerContext) -> AsyncIterator[bytes]:
        for _ in range(2):
            yield await self.read()

    async def stream_stream(self, requests: AsyncIterator[bytes], context: grpc.ServicerContext) -> None:
        async for _ in requests:
            await context.write(await self.read())

    async def fails(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        await self.read()
        raise ValueError

    async def aborts(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata([("session", (await self.read()).decode())])
        await context.abort(grpc.StatusCode.NOT_FOUND, "there is none")
        raise AssertionError("unreachable")

    async def metadata(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        return repr([tuple(each) for each in context.invocation_metadata()]).encode()

    @staticmethod
    async def read() -> bytes:
        return (await acurrent_session_id() or "none").encode()


def add_methods(server: Any, methods: Any) -> None:
    handlers = {}
    for name in (name for name in dir(methods) if name[0] != "_" and name != "read"):
        kind = name if name in KINDS else "unary_unary"
        handlers[name] = getattr(grpc, f"{kind}_rpc_method_handler")(getattr(methods, name))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test", handlers)])


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One that runs in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)
    loop.close()


class Servers:
    """Starts servers of one of the three kinds, and calls them."""

    def __init__(self, kind: str, loop: asyncio.AbstractEventLoop, running: contextlib.ExitStack) -> None:
        self.kind = kind
        self.interceptor: Callable[..., Any] = ServerInterceptor if kind == "sync" else AioServerInterceptor
        self._loop = loop
        self._running = running

    def serve(
        self, *interceptors: Any, methods: Any = None, threads: ThreadPoolExecutor | None = None
    ) -> int:
        methods = methods or (AioMethods() if self.kind == "aio" else Methods())
        threads = threads or self._running.enter_context(ThreadPoolExecutor(2))
        if self.kind != "sync":
            port: int = self._run(self._serve_aio(interceptors, methods, threads))
            return port
        server = grpc.server(threads, interceptors=interceptors)
        add_methods(server, methods)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self._running.callback(lambda: server.stop(None).wait(PATIENCE))
        return port

    def stop(self) -> None:
        self._running.close()

    def call(
        self, port: int, name: str = "unary_unary", *, metadata: Any = (), interceptors: Any = None
    ) -> list[str]:
        """The messages that the method answers with."""
        with grpc.insecure_channel(f"127.0.0.1:{port}") as bare:
            channel = grpc.intercept_channel(bare, *interceptors or ())
            kind = name if name in KINDS else "unary_unary"
            request = iter([b"1", b"2"]) if kind.startswith("stream") else b"1"
            answer = getattr(channel, kind)(f"/test/{name}")(request, metadata=metadata, timeout=PATIENCE)
            messages = [*answer] if kind.endswith("stream") else [answer]
        return [message.decode() for message in messages]

    def _run(self, coroutine: Coroutine[Any, Any, int | None]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    async def _serve_aio(self, interceptors: Any, methods: Any, threads: ThreadPoolExecutor) -> int:
        server = grpc.aio.server(threads, interceptors=interceptors)
        add_methods(server, methods)
        port: int = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self._running.callback(lambda: self._run(server.stop(None)))
        return port


@pytest.fixture(params=["sync", "aio", "aio with sync methods"])
def servers(request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop) -> Iterator[Servers]:
    with contextlib.ExitStack() as running:
        yield Servers(request.param, loop, running)


# What makes no difference to a call, other than which way its session is opened.
OPTIONS = [pytest.param({}, id="plain"), pytest.param({"key": header("x-chat-id")}, id="with a key")]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_call_is_one_session(
    servers: Servers, manager: SessionManager, sessions_api: SessionsAPI, options: Any
) -> None:
    """In a method of each kind, to the end of its streams; the next call has another session."""
    port = servers.serve(servers.interceptor(manager, **options))
    calls = [servers.call(port, name) for name in KINDS for _ in range(3)]
    assert [len(messages) for messages in calls] == [1, 1, 1, 2, 2, 2] * 2
    assert [len({*messages}) for messages in calls] == [1] * len(calls)
    sessions = {messages[0] for messages in calls}
    assert all(map(SESSION_ID.fullmatch, sessions))
    assert len(sessions) == sessions_api.posts == len(calls)


def test_without_a_read_there_is_no_call(
    servers: Servers, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """And what the server gets is what was sent."""
    bare, ours = servers.serve(), servers.serve(servers.interceptor(manager))
    assert servers.call(ours, "metadata") == servers.call(bare, "metadata")
    assert sessions_api.requests == []


@contextlib.contextmanager
def sessions_of_errors() -> Iterator[list[str | None]]:
    """The session in which each error is logged."""
    logged: list[str | None] = []

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(current_session_id(create=False))

    root = logging.getLogger()
    root.addHandler(reader := Reader(logging.ERROR))
    try:
        yield logged
    finally:
        root.removeHandler(reader)


@pytest.mark.parametrize("options", OPTIONS)
def test_errors(servers: Servers, manager: SessionManager, options: Any) -> None:
    """They reach the client as they do without us, and gRPC logs them in the session."""
    port = servers.serve(servers.interceptor(manager, **options))
    with pytest.raises(grpc.RpcError) as aborted:
        servers.call(port, "aborts")
    assert aborted.value.code() is grpc.StatusCode.NOT_FOUND
    assert aborted.value.details() == "there is none"
    if servers.kind != "aio with sync methods":  # whose context has no trailing metadata in an abort
        ((_, session),) = aborted.value.trailing_metadata()
        assert SESSION_ID.fullmatch(session)
    with pytest.raises(grpc.RpcError) as unimplemented:
        servers.call(port, "missing")
    assert unimplemented.value.code() is grpc.StatusCode.UNIMPLEMENTED
    with sessions_of_errors() as logged:
        with pytest.raises(grpc.RpcError) as failed:
            servers.call(port, "fails")
        assert failed.value.code() is grpc.StatusCode.UNKNOWN
        wait_until(lambda: logged)
    if options == {} or servers.kind != "aio with sync methods":  # where only the thread knows the key
        assert all(SESSION_ID.fullmatch(session or "") for session in logged)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_server_started_in_a_scope_serves_nobody_with_its_session(
    servers: Servers, manager: SessionManager, options: Any
) -> None:
    """What the context of the server holds is not joined, and no error is logged in it."""
    with manager.session() as session, sessions_of_errors() as logged:
        port = servers.serve(servers.interceptor(manager, **options))
        assert servers.call(port) != [session.id]
        with pytest.raises(grpc.RpcError):
            servers.call(port, "fails")
        wait_until(lambda: logged)
        assert session.id not in logged


@bare_threads
@pytest.mark.parametrize("options", OPTIONS)
def test_threads_keep_no_session(servers: Servers, manager: SessionManager, options: Any) -> None:
    """What else the pool of the server does has none."""
    with ThreadPoolExecutor(1) as threads:
        port = servers.serve(servers.interceptor(manager, **options), threads=threads)
        for name in KINDS:
            servers.call(port, name)
        assert threads.submit(current_session).result(PATIENCE) is None
        servers.stop()


def test_calls_of_a_conversation_share_a_session(servers: Servers, manager: SessionManager) -> None:
    """Those with the same key in their metadata, and no others."""
    port = servers.serve(servers.interceptor(manager, key=header("X-Chat-ID")))
    first, second, other = (servers.call(port, metadata=[("x-chat-id", key)]) for key in "778")
    assert first == second != other
    assert servers.call(port) not in (first, other)


def test_key_function_is_given_the_context(servers: Servers, manager: SessionManager) -> None:
    """Which has the metadata and the peer."""

    def chat(context: grpc.ServicerContext) -> str:
        return str(dict(context.invocation_metadata())["chat"])

    port = servers.serve(servers.interceptor(manager, key=chat))
    first, second, other = (servers.call(port, metadata=[("chat", key)]) for key in "778")
    assert first == second != other


def test_a_conversation_is_in_use_to_the_end_of_its_call(servers: Servers, sessions_api: SessionsAPI) -> None:
    """From then on its idle time runs."""
    with SessionManager(sessions_api.base_url, idle_timeout=60, retries=0) as manager:
        in_use = manager.conversations._in_use._sessions
        port = servers.serve(servers.interceptor(manager, key=header("x-chat-id")))
        for name in KINDS:
            assert SESSION_ID.fullmatch(servers.call(port, name, metadata=[("x-chat-id", "7")])[0])
            wait_until(lambda: in_use == {})


@pytest.mark.parametrize(
    ("trust", "joined"),
    [
        (["127.0.0.1"], 1),
        (["10.0.0.0/8"], 0),
        (lambda context: ("x-caller", "front") in context.invocation_metadata(), 1),
        (SECRET, 0),
    ],
    ids=["network", "other network", "function", "secret"],
)
def test_session_of_a_caller(servers: Servers, manager: SessionManager, trust: Any, joined: int) -> None:
    """It is joined where it is trusted: an unsigned one is not where there is a secret."""
    port = servers.serve(servers.interceptor(manager, trust=trust))
    for named in (("baggage", f"session.id={SESSION}"), ("x-session-id", SESSION)):
        answers = servers.call(port, metadata=[named, ("x-caller", "front"), ("raw-bin", b"\xff")])
        assert answers.count(SESSION) == joined


def test_a_signature_is_good_for_its_service_only(servers: Servers, manager: SessionManager) -> None:
    """Which stands in place of the host: of that, gRPC tells an interceptor nothing."""
    port = servers.serve(servers.interceptor(manager, trust=SECRET))
    for service in ("test", "another"):
        signature = ("x-session-signature", SECRET.sign(SESSION, service))
        for named in (("baggage", f"session.id={SESSION}"), ("x-session-id", SESSION)):
            answers = servers.call(port, metadata=[named, signature])
            assert (answers == [SESSION]) is (service == "test")


def test_a_peer_behind_a_forwarding_header_is_not_the_peer(servers: Servers, manager: SessionManager) -> None:
    """As a proxy on the same machine would else be trusted with what it passes on."""
    port = servers.serve(servers.interceptor(manager, trust=["127.0.0.1"]))
    metadata = [("baggage", f"session.id={SESSION}"), ("x-forwarded-for", "10.0.0.1")]
    assert servers.call(port, metadata=metadata) != [SESSION]


@pytest.mark.parametrize("options", [{}, {"secret": SECRET}, {"carrier": "header", "secret": SECRET}])
def test_the_service_behind_joins(servers: Servers, manager: SessionManager, options: Any) -> None:
    """A call carries the session of its scope; one outside every scope carries none."""
    trust = options.get("secret", ["127.0.0.1"])
    port = servers.serve(servers.interceptor(manager, trust=trust))
    interceptors = [ClientInterceptor(**options)]
    with manager.session() as session:
        for name in KINDS:
            assert {*servers.call(port, name, interceptors=interceptors)} == {session.id}
    for name in KINDS:
        assert session.id not in servers.call(port, name, interceptors=interceptors)


@pytest.mark.parametrize("name", KINDS)
def test_a_call_of_an_aio_channel_carries_the_session(
    loop: asyncio.AbstractEventLoop, manager: SessionManager, name: str
) -> None:
    """In methods of all kinds; two scopes at once have their own."""

    async def call(channel: Any) -> None:
        async with manager.session() as session:
            stream = iter([b"1", b"2"])
            request = stream if name.startswith("stream") else b"1"
            answer = getattr(channel, name)(f"/test/{name}")(request, metadata=[("user", "1")])
            messages = [message async for message in answer] if name.endswith("stream") else [await answer]
            assert {*messages} == {(await session.aid() or "").encode()}

    async def call_at_once(port: int) -> None:
        interceptors = aio_client_interceptors(secret=SECRET)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors) as channel:
            await asyncio.gather(call(channel), call(channel))

    with contextlib.ExitStack() as running:
        port = Servers("aio", loop, running).serve(AioServerInterceptor(manager, trust=SECRET))
        asyncio.run_coroutine_threadsafe(call_at_once(port), loop).result(PATIENCE)


class _Details(grpc.ClientCallDetails):
    """The details of a call as another interceptor may make them."""

    def __init__(self, method: str, metadata: Any) -> None:
        self.method, self.metadata, self.timeout = method, metadata, None


class _Another(grpc.UnaryUnaryClientInterceptor):
    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(_Details(details.method, [*details.metadata, ("another", "1")]), request)


def test_metadata_of_ones_own_stays(
    loop: asyncio.AbstractEventLoop, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """The session is a member beside those in baggage; one that is there already is left as it is."""
    with contextlib.ExitStack() as running, manager.session() as session:
        servers = Servers("sync", loop, running)
        port = servers.serve()
        interceptors = [_Another(), ClientInterceptor()]
        own = [("user", "1"), ("baggage", "a=1"), ("baggage", "b=2")]
        (got,) = servers.call(port, "metadata", metadata=own, interceptors=interceptors)
        named = f"session.id={session.id}"
        assert f"('user', '1'), ('another', '1'), ('baggage', 'a=1,b=2,{named}')" in got
        own = [("baggage", f"session.id={SESSION}")]
        (got,) = servers.call(port, "metadata", metadata=own, interceptors=interceptors)
        assert f"('baggage', 'session.id={SESSION}')" in got
        assert named not in got


@pytest.mark.parametrize(
    ("make_own", "seen"),
    [
        (lambda: [("user", "1"), ("baggage", b"a=1")], "('user', '1'), ('baggage', 'a=1,{named}')"),
        (lambda: iter([("user", "1"), ("baggage", "a=1")]), "('user', '1'), ('baggage', 'a=1,{named}')"),
    ],
    ids=["bytes", "an iterator"],
)
def test_metadata_that_grpc_takes_may_be_given(
    make_own: Callable[[], Any],
    seen: str,
    loop: asyncio.AbstractEventLoop,
    manager: SessionManager,
    sessions_api: SessionsAPI,
) -> None:
    """Values of bytes, and what can be read but once; within a scope and outside."""
    with contextlib.ExitStack() as running:
        servers = Servers("sync", loop, running)
        port = servers.serve()
        with manager.session() as session:
            (got,) = servers.call(port, "metadata", metadata=make_own(), interceptors=[ClientInterceptor()])
            assert seen.format(named=f"session.id={session.id}") in got
        (got,) = servers.call(port, "metadata", metadata=make_own(), interceptors=[ClientInterceptor()])
        assert "('user', '1'), ('baggage', 'a=1')" in got


@dataclass(frozen=True)
class _FrozenDetails(grpc.ClientCallDetails):
    """The details of a call that nobody can change."""

    method: str
    timeout: Any
    metadata: Any
    credentials: Any
    wait_for_ready: Any


class _AioAnother(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        frozen = _FrozenDetails(
            details.method, details.timeout, details.metadata, details.credentials, details.wait_for_ready
        )
        return await continuation(frozen, request)


def test_another_aio_interceptor_may_make_details_of_its_own(
    loop: asyncio.AbstractEventLoop, manager: SessionManager
) -> None:
    """Such that have no way to change them."""
    interceptors = [_AioAnother(), *aio_client_interceptors()]
    with contextlib.ExitStack() as running:
        port = Servers("aio", loop, running).serve(AioServerInterceptor(manager, trust=["127.0.0.1"]))
        asyncio.run(check_that_an_aio_call_carries_the_session(manager, port, interceptors))


async def check_that_an_aio_call_carries_the_session(
    manager: SessionManager, port: int, interceptors: list[Any]
) -> None:
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors) as channel,
        manager.session() as session,
    ):
        answer = await channel.unary_unary("/test/unary_unary")(b"1", timeout=PATIENCE)
        assert answer.decode() == await session.aid()


class _OpenTelemetry(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Writes the metadata like the interceptor of opentelemetry-instrumentation-grpc."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(_Details(details.method, _injected(details.metadata)), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        yield from self.intercept_unary_unary(continuation, details, request)  # at the first step


class _AioOpenTelemetry(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(details._replace(metadata=_injected(details.metadata)), request)


def _injected(metadata: Any) -> tuple[tuple[str, str], ...]:
    from opentelemetry.propagate import inject

    carrier = dict(metadata or ())
    inject(carrier)
    return tuple(carrier.items())


@pytest.fixture
def opentelemetry_baggage() -> Iterator[None]:
    """Of a caller in another session, which this service does not trust."""
    pytest.importorskip("opentelemetry.baggage")
    from opentelemetry import baggage, context

    of_caller = baggage.set_baggage("session.id", SESSION, baggage.set_baggage("a", "1"))
    token = context.attach(of_caller)
    yield
    assert context.get_current() == of_caller
    context.detach(token)


@pytest.mark.usefixtures("opentelemetry_baggage")
@pytest.mark.parametrize("is_outside", [True, False])
def test_the_session_travels_beside_the_baggage_of_opentelemetry(
    loop: asyncio.AbstractEventLoop, manager: SessionManager, *, is_outside: bool
) -> None:
    """In either order of the interceptors."""
    interceptors = [ClientInterceptor(secret=SECRET), _OpenTelemetry()][:: 1 if is_outside else -1]
    with contextlib.ExitStack() as running, manager.session() as session:
        servers = Servers("sync", loop, running)
        port = servers.serve(ServerInterceptor(manager, trust=SECRET))
        for name, answers in (("unary_unary", 1), ("unary_stream", 2)):
            assert servers.call(port, name, interceptors=interceptors) == [session.id] * answers
        (got,) = servers.call(port, "metadata", interceptors=interceptors)
    assert got.count("session.id") == 1
    assert "a=1" in got


@pytest.mark.usefixtures("opentelemetry_baggage")
def test_so_does_that_of_an_aio_call(loop: asyncio.AbstractEventLoop, manager: SessionManager) -> None:
    interceptors = [*aio_client_interceptors(secret=SECRET), _AioOpenTelemetry()]
    with contextlib.ExitStack() as running:
        port = Servers("sync", loop, running).serve(ServerInterceptor(manager, trust=SECRET))
        asyncio.run(check_that_an_aio_call_carries_the_session(manager, port, interceptors))


@pytest.mark.usefixtures("opentelemetry_baggage")
def test_a_stream_of_requests_sees_the_baggage_of_its_caller(
    loop: asyncio.AbstractEventLoop, manager: SessionManager
) -> None:
    """An instrumented client that it calls would send the ID to any host.

    Otherwise it sees OpenTelemetry's context of the call, such as its span.
    """
    from opentelemetry import context
    from opentelemetry.baggage import get_all

    seen: list[tuple[str | None, Any]] = []
    spans = []

    class Span(grpc.StreamUnaryClientInterceptor):
        def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
            token = context.attach(context.set_value("span", "of the call"))
            try:
                return continuation(details, requests)
            finally:
                context.detach(token)

    def requests() -> Iterator[bytes]:
        for _ in range(2):
            seen.append((current_session_id(), get_all()))
            spans.append(context.get_value("span"))
            yield b"1"

    async def arequests() -> AsyncIterator[bytes]:
        for request in requests():
            await asyncio.sleep(0)
            yield request

    async def call(port: int, stream: Any) -> bytes:
        address, interceptors = f"127.0.0.1:{port}", aio_client_interceptors(secret=SECRET)
        async with grpc.aio.insecure_channel(address, interceptors=interceptors) as channel:
            answer: bytes = await channel.stream_unary("/test/stream_unary")(stream, timeout=PATIENCE)
            return answer

    with contextlib.ExitStack() as running, manager.session() as session:
        port = Servers("sync", loop, running).serve(ServerInterceptor(manager, trust=SECRET))
        channel = running.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
        channel = grpc.intercept_channel(channel, ClientInterceptor(secret=SECRET), Span())
        answers = [channel.stream_unary("/test/stream_unary")(requests(), timeout=PATIENCE)]
        answers += [asyncio.run(call(port, stream)) for stream in (requests(), arequests())]
    assert [answer.decode() for answer in answers] == [session.id] * 3
    assert seen == [(session.id, {"session.id": SESSION, "a": "1"})] * 6
    assert spans == ["of the call"] * 2 + [None] * 4


def test_without_opentelemetry_an_aio_call_carries_it_too(
    loop: asyncio.AbstractEventLoop, manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.baggage", None)
    with contextlib.ExitStack() as running:
        port = Servers("sync", loop, running).serve(ServerInterceptor(manager, trust=SECRET))
        interceptors = aio_client_interceptors(secret=SECRET)
        asyncio.run(check_that_an_aio_call_carries_the_session(manager, port, interceptors))


def test_callbacks_need_bind(loop: asyncio.AbstractEventLoop, manager: SessionManager) -> None:
    """gRPC calls them in a thread of its own."""
    seen: list[str | None] = []

    class WithCallback(Methods):
        def unary_unary(self, _: bytes, context: grpc.ServicerContext) -> bytes:
            context.add_callback(bind(lambda: seen.append(current_session_id())))
            return self.read()

    with contextlib.ExitStack() as running:
        servers = Servers("sync", loop, running)
        sessions = servers.call(servers.serve(ServerInterceptor(manager), methods=WithCallback()))
        wait_until(lambda: seen)
    assert seen == sessions


def test_wrong_options_are_refused() -> None:
    """When the interceptor is made."""
    with pytest.raises(ConfigurationError, match="trust"):
        ServerInterceptor(trust="10.0.0.0/8")
    with pytest.raises(ConfigurationError, match="manager"):
        AioServerInterceptor("manager")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="carrier"):
        ClientInterceptor(carrier="metadata")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="secret"):
        aio_client_interceptors(secret="a secret of many characters")  # type: ignore[arg-type]


def test_a_version_that_shares_contexts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its interceptors would leave the session of a call to the next one."""
    monkeypatch.setattr(grpc, "__version__", "1.59.5")
    monkeypatch.delitem(sys.modules, "hl_sessions.integrations.grpc")
    with pytest.raises(ImportError, match=r"1\.60 or later, not 1\.59\.5"):
        import_module("hl_sessions.integrations.grpc")
