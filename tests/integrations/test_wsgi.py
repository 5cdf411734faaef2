"""The WSGI middleware, step by step."""

import contextvars
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from hl_sessions import (
    ConfigurationError,
    Session,
    SessionManager,
    configure,
    current_session,
    current_session_id,
)
from hl_sessions.integrations.gateway import SESSION
from hl_sessions.integrations.wsgi import HLSessionMiddleware
from hl_sessions.sessions.opened import observe_requests, unobserve
from tests.integrations.conftest import SESSION_ID
from tests.sessions_api import SessionsAPI

Application = Callable[..., Iterable[bytes]]
HEADER = "X-Session-ID"


class Response:
    """What a server would send; it starts and iterates when it is told to."""

    def __init__(self, app: Application, **environ: Any) -> None:
        self.starts: list[tuple[Any, ...]] = []
        self.written: list[bytes] = []
        setup_testing_defaults(environ)
        self.body: Any = app(environ, self.start)

    def start(self, *arguments: Any, **options: Any) -> Callable[[bytes], None]:
        self.starts.append((*arguments, *options.values()))
        return self.written.append

    @property
    def headers(self) -> list[tuple[str, str]]:
        headers: list[tuple[str, str]] = self.starts[-1][1]
        return headers


def returning(body: Any, *headers: tuple[str, str]) -> Application:
    def app(environ: Any, start_response: Any) -> Any:
        current_session_id()
        start_response("200 OK", list(headers))
        return body

    return app


def read() -> bytes:
    return str(current_session_id()).encode()


class Recorder:
    """A body that notes the session of each step that is made with it."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str | None]] = []
        self._chunks = iter([b"one", b"two"])

    def note(self, step: str) -> None:
        self.steps.append((step, current_session_id()))

    def __iter__(self) -> Iterator[bytes]:
        self.note("iter")
        return self

    def __next__(self) -> bytes:
        self.note("next")
        return next(self._chunks)

    def close(self) -> None:
        self.note("close")


def test_every_step_is_in_the_session_and_nothing_between_them(
    manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """The call, ``iter``, each ``next`` and ``close`` share one session; the server has none."""
    recorder = Recorder()

    def app(environ: Any, start_response: Any) -> Recorder:
        recorder.note("call")
        return recorder

    response = Response(HLSessionMiddleware(app, manager))
    assert current_session() is None
    iterator = iter(response.body)
    chunks = []
    for chunk in iterator:
        assert current_session() is None
        chunks.append(chunk)
    response.body.close()
    assert current_session() is None
    steps, ids = zip(*recorder.steps, strict=True)
    assert chunks == [b"one", b"two"]
    assert steps == ("call", "iter", "next", "next", "next", "close")
    assert len(set(ids)) == sessions_api.posts == 1
    assert SESSION_ID.fullmatch(ids[0])


def test_headers_that_are_no_list(manager: SessionManager) -> None:
    """The standard asks for one; what a server takes is its business, and nothing of ours."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", (("X-A", "b"),))
        return [str(current_session_id(create=environ["PATH_INFO"] == "/read")).encode()]

    for path in ("/", "/read"):
        response = Response(HLSessionMiddleware(app, manager, response_header=HEADER), PATH_INFO=path)
        assert ("X-A", "b") in response.headers


def test_nobody_reads_nobody_calls(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """The handle is there in every step, and the sessions API hears nothing."""
    seen = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        seen.append(current_session())
        start_response("200 OK", [])
        yield b""
        seen.append(current_session())

    for response_header in (None, HEADER):
        list(Response(HLSessionMiddleware(app, manager, response_header=response_header)).body)
    assert None not in seen
    assert len(set(seen)) == 2
    assert sessions_api.connections == 0


def test_streams_interleaved_on_one_thread_never_see_each_other(manager: SessionManager) -> None:
    """Two bodies, stepped in turns and closed in the order of their opening, keep their own sessions."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        for _ in range(3):
            yield read()

    scoped = HLSessionMiddleware(app, manager)
    first, second = Response(scoped).body, Response(scoped).body
    steps = [(next(first), next(second), current_session()) for _ in range(3)]
    first.close()
    second.close()
    assert len(set(steps)) == 1
    of_first, of_second, outside = steps[0]
    assert of_first != of_second
    assert outside is None


@pytest.mark.parametrize("body", [[b"hello"], [], (b"a", b"b")], ids=repr)
def test_list_is_returned_as_it_is(body: Any, manager: SessionManager) -> None:
    """The very object: servers derive ``Content-Length`` from its one element."""
    assert Response(HLSessionMiddleware(returning(body), manager, response_header=HEADER)).body is body


@pytest.mark.parametrize("opener", [io.BytesIO, tempfile.TemporaryFile], ids=["memory", "disk"])
def test_files_are_returned_as_they_are(opener: Callable[[], Any], manager: SessionManager) -> None:
    """The very object, wrapped by the server's ``wsgi.file_wrapper`` or not: servers use sendfile for it."""
    with opener() as file:
        assert Response(HLSessionMiddleware(returning(file), manager)).body is file
        wrapped = FileWrapper(file)
        environ = {"wsgi.file_wrapper": FileWrapper}
        assert Response(HLSessionMiddleware(returning(wrapped), manager), **environ).body is wrapped


def test_file_object_of_the_application_is_read_in_the_session(manager: SessionManager) -> None:
    """What the application makes while it is sent is a stream, with any base class."""

    class Generated(io.RawIOBase):
        def __init__(self) -> None:
            self.lines = 2

        def readable(self) -> bool:
            return True

        def __next__(self) -> bytes:
            self.lines -= 1
            if self.lines < 0:
                raise StopIteration
            return read()

    with Generated() as generated:
        chunks = list(Response(HLSessionMiddleware(returning(generated), manager)).body)
    assert len(chunks) == 2
    assert len(set(chunks)) == 1
    assert SESSION_ID.fullmatch(chunks[0].decode())


def test_a_session_that_was_left_behind_is_around_nobody(manager: SessionManager) -> None:
    """A generator that holds a scope and ends in another context leaves its session in a worker's own.

    The requests that the worker serves from then on are requests: observers are told of them.
    """

    def stream() -> Iterator[None]:
        with manager.session():
            yield

    seen: list[Session] = []
    app = HLSessionMiddleware(returning([]), manager)

    def serve() -> None:
        started = stream()
        next(started)
        contextvars.copy_context().run(list, started)
        Response(app)
        Response(app)

    observe_requests(seen.append)
    try:
        contextvars.copy_context().run(serve)
    finally:
        unobserve(seen.append)
    assert len(set(seen)) == 2


def test_list_that_works_while_it_is_sent_is_in_the_session(manager: SessionManager) -> None:
    """A list with an iteration and a ``close`` of its own keeps its length, and runs them in the session."""
    seen = []

    class Lazy(list[Callable[[], bytes]]):
        def __iter__(self) -> Any:
            return (make() for make in super().__iter__())

        def close(self) -> None:
            seen.append(read())

    body = Response(HLSessionMiddleware(returning(Lazy([read])), manager)).body
    assert len(body) == 1
    seen.extend(body)
    body.close()
    assert len(seen) == 2
    assert len(set(seen)) == 1
    assert SESSION_ID.fullmatch(seen[0].decode())


def test_length_of_a_sized_body_is_kept(manager: SessionManager) -> None:
    """A body that knows its length goes on doing so, one that does not has none."""

    class Sized:
        def __iter__(self) -> Iterator[bytes]:
            yield b"one"

        def __len__(self) -> int:
            return 1

    assert len(Response(HLSessionMiddleware(returning(Sized()), manager)).body) == 1
    assert not hasattr(Response(HLSessionMiddleware(returning(iter([b"one"])), manager)).body, "__len__")


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_close_reaches_the_body_once(steps: int, manager: SessionManager) -> None:
    """Never iterated, left early or exhausted: the body is closed once, though the server closes twice."""
    recorder = Recorder()
    body = Response(HLSessionMiddleware(returning(recorder), manager)).body
    for _ in range(steps):
        next(body, None)
    body.close()
    body.close()
    assert [step for step, _ in recorder.steps].count("close") == 1
    assert SESSION_ID.fullmatch(str(recorder.steps[-1][1]))


def test_body_without_close_may_be_closed(manager: SessionManager) -> None:
    """A server may close what it got, whether or not the application's body can be closed."""
    body = Response(HLSessionMiddleware(returning(map(bytes, [b"x"])), manager)).body
    assert list(body) == [b"x"]
    body.close()


def test_unfinished_generator_ends_in_the_session(manager: SessionManager) -> None:
    """The ``finally`` of a generator that the server closes early reads the same ID as its steps."""
    seen = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        try:
            while True:
                yield read()
        finally:
            seen.append(read())

    body = Response(HLSessionMiddleware(app, manager)).body
    seen.append(next(body))
    body.close()
    assert len(seen) == 2
    assert len(set(seen)) == 1


class Broken(Recorder):
    """Fails at one of the steps."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self.broken = step

    def note(self, step: str) -> None:
        super().note(step)
        if step == self.broken:
            raise LookupError(step)


@pytest.mark.parametrize("step", ["call", "iter", "next", "close"])
def test_error_in_any_step_leaves_the_session(step: str, manager: SessionManager) -> None:
    """The application's exception arrives as it is, and the surrounding session is back."""
    broken = Broken(step)

    def app(environ: Any, start_response: Any) -> Broken:
        broken.note("call")
        return broken

    with manager.session() as surrounding:
        with pytest.raises(LookupError, match=step):  # noqa: PT012 - each step may be the one
            body = Response(HLSessionMiddleware(app, manager)).body
            list(body)
            body.close()
        assert current_session() is surrounding
    assert broken.steps[-1][0] == step


def test_two_middlewares_are_one_session_and_one_header(
    manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """The inner one joins the outer one, in the stream as in the call."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        body = read()
        start_response("200 OK", [])
        yield body
        yield read()

    inner = HLSessionMiddleware(app, manager, response_header=HEADER)
    response = Response(HLSessionMiddleware(inner, manager, response_header=HEADER.lower()))
    first, second = response.body
    assert response.headers == [(HEADER, first.decode())]
    assert first == second
    assert sessions_api.posts == 1


def test_middlewares_of_two_managers_are_two_sessions(
    manager: SessionManager, other_manager: SessionManager
) -> None:
    """Each has a session and a header of its own, in every step of the stream."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        for each in (manager, other_manager):
            with each.session():
                current_session_id()
        start_response("200 OK", [])
        for each in (manager, other_manager):
            with each.session():
                yield read()

    inner = HLSessionMiddleware(app, other_manager, response_header="X-Inner")
    response = Response(HLSessionMiddleware(inner, manager, response_header="X-Outer"))
    outer_id, inner_id = (chunk.decode() for chunk in response.body)
    assert response.headers == [("X-Inner", inner_id), ("X-Outer", outer_id)]
    assert outer_id != inner_id


def test_default_manager_is_looked_up_at_the_request(sessions_api: SessionsAPI) -> None:
    """A middleware made before ``configure`` uses what ``configure`` set."""
    app = HLSessionMiddleware(returning([b""]), response_header=HEADER)
    with configure(sessions_api.base_url):
        assert SESSION_ID.fullmatch(dict(Response(app).headers)[HEADER])


# start_response


def test_write_is_passed_on(manager: SessionManager) -> None:
    """The callable that ``start_response`` gives is the server's own."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"written")
        return [b"returned"]

    for response_header in (None, HEADER):
        response = Response(HLSessionMiddleware(app, manager, response_header=response_header))
        assert response.written == [b"written"]


@pytest.mark.parametrize("as_keyword", [False, True], ids=["positional", "keyword"])
@pytest.mark.parametrize("response_header", [None, HEADER])
def test_second_start_with_exc_info_is_passed_on(
    response_header: str | None, manager: SessionManager, *, as_keyword: bool
) -> None:
    """An application that starts again to tell an error has its ``exc_info`` and the header arrive."""
    error = LookupError()
    exc_info = (LookupError, error, None)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        current_session_id()
        start_response("200 OK", [])
        if as_keyword:
            start_response("500 Oh", [("A", "b")], exc_info=exc_info)
        else:
            start_response("500 Oh", [("A", "b")], exc_info)
        return []

    response = Response(HLSessionMiddleware(app, manager, response_header=response_header))
    assert [len(start) for start in response.starts] == [2, 3]
    assert response.starts[1][0] == "500 Oh"
    assert response.starts[1][2] is exc_info
    assert [name for name, _ in response.headers] == ["A"] + [HEADER] * (response_header is not None)


def test_start_response_is_the_servers_own_without_a_header(manager: SessionManager) -> None:
    """Nothing stands between the application and the server where there is nothing to add."""
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.extend((environ, start_response))
        return []

    environ: dict[str, Any] = {}

    def start_response(*_: Any) -> Any: ...

    HLSessionMiddleware(app, manager)(environ, start_response)
    assert seen[0] is environ
    assert seen[1] is start_response
    assert list(environ) == [SESSION]


def test_header_is_added_in_the_first_step_of_a_generator(manager: SessionManager) -> None:
    """An application that is a generator starts its response in the first ``next``."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        body = read()
        start_response("200 OK", [])
        yield body

    response = Response(HLSessionMiddleware(app, manager, response_header=HEADER))
    assert response.starts == []
    (body,) = response.body
    assert response.headers == [(HEADER, body.decode())]


def test_header_of_the_application_has_precedence(manager: SessionManager) -> None:
    """A header of that name, in any case, is not doubled."""
    app = returning([], ("x-SESSION-id", "mine"))
    response = Response(HLSessionMiddleware(app, manager, response_header=HEADER))
    assert response.headers == [("x-SESSION-id", "mine")]


def test_list_of_headers_stays_the_applications_own(manager: SessionManager) -> None:
    """An application may give the same list in each request."""
    headers: list[tuple[str, str]] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        current_session_id()
        start_response("200 OK", headers)
        return []

    scoped = HLSessionMiddleware(app, manager, response_header=HEADER)
    assert Response(scoped).headers != Response(scoped).headers
    assert headers == []


@pytest.mark.parametrize("make_body", [lambda: [b"hello"], lambda: iter([b"hello"])], ids=["list", "stream"])
@pytest.mark.parametrize("response_header", [None, HEADER])
def test_protocol_is_kept_on_both_sides(
    response_header: str | None, make_body: Callable[[], Any], manager: SessionManager
) -> None:
    """The validator of the standard library finds nothing, neither as server nor as application."""

    def app(environ: Any, start_response: Any) -> Any:
        current_session_id()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return make_body()

    scoped = HLSessionMiddleware(validator(app), manager, response_header=response_header)
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ["QUERY_STRING"] = ""
    sent, errors = io.BytesIO(), io.StringIO()
    handler = SimpleHandler(io.BytesIO(), sent, errors, environ, multithread=False)
    handler.run(validator(scoped))
    assert errors.getvalue() == ""
    assert sent.getvalue().startswith(b"HTTP/1.0 200 OK\r\n")
    assert sent.getvalue().endswith(b"\r\n\r\nhello")
    assert (HEADER.encode() in sent.getvalue()) == (response_header is not None)


# Settings


@pytest.mark.parametrize("name", ["", "X Session", "X-Session:", "Ünïcode", "X\r\nY", "X\n", 42], ids=repr)
def test_bad_header_name_is_a_configuration_error(name: Any, manager: SessionManager) -> None:
    """It is refused when the middleware is made, and the message shows it."""
    with pytest.raises(ConfigurationError) as caught:
        HLSessionMiddleware(returning([]), manager, response_header=name)
    assert f"response_header={name!r}" in str(caught.value)


def test_what_is_no_manager_is_a_configuration_error() -> None:
    """It is refused when the middleware is made."""
    with pytest.raises(ConfigurationError, match="manager must be a SessionManager, not str"):
        HLSessionMiddleware(returning([]), "http://127.0.0.1:8642/v4")  # type: ignore[arg-type]
