"""The WSGI middleware under the servers that run it."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest
from werkzeug.serving import make_server

from hl_sessions import configure
from tests import gunicorn_server
from tests.integrations import conftest, wsgi_application
from tests.integrations.conftest import SESSION_ID, Address, get_raw, headers_named, running_in_thread
from tests.interpreters import needs
from tests.sessions_api import SessionsAPI

HERE = Path(__file__).parent
KINDS = ["list", "lists", "sized", "generator", "closing", "file", "write", "empty", "error"]


def running_gunicorn(base_url: str, *arguments: str) -> AbstractContextManager[Address]:
    arguments = ("--workers=1", *arguments, "wsgi_application:application")
    return gunicorn_server.running_gunicorn(HERE, *arguments, HL_SESSIONS_BASE_URL=base_url)


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Not on the terminal."""


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A failing application is the test's."""


@contextmanager
def running_waitress(base_url: str) -> Iterator[Address]:
    with configure(base_url), conftest.running_waitress(wsgi_application.application) as address:
        yield address


@contextmanager
def running_wsgiref(base_url: str) -> Iterator[Address]:
    with configure(base_url), _ThreadingServer(("127.0.0.1", 0), _QuietHandler) as server:
        server.set_app(wsgi_application.application)
        with running_in_thread(lambda: server.serve_forever(0.02), server.shutdown):
            yield server.server_address[:2]  # type: ignore[misc]


@contextmanager
def running_werkzeug(base_url: str) -> Iterator[Address]:
    server = make_server("127.0.0.1", 0, wsgi_application.application, threaded=True)
    with configure(base_url), running_in_thread(server.serve_forever, server.shutdown):
        yield ("127.0.0.1", server.server_port)
    server.server_close()


SERVERS: dict[str, Any] = {
    "gunicorn-sync": lambda url: running_gunicorn(url, "--worker-class=sync"),
    "gunicorn-gthread": lambda url: running_gunicorn(url, "--worker-class=gthread", "--threads=2"),
    "gunicorn-gevent": lambda url: running_gunicorn(url, "--worker-class=gevent"),
    "gunicorn-preload": lambda url: running_gunicorn(url, "--preload"),
    "waitress": running_waitress,
    "wsgiref": running_wsgiref,
    "werkzeug": running_werkzeug,
}


@pytest.fixture(
    params=[pytest.param(name, marks=needs("gevent") if "gevent" in name else []) for name in SERVERS]
)
def address(request: pytest.FixtureRequest, sessions_api: SessionsAPI) -> Iterator[Address]:
    wsgi_application.closed.clear()
    with SERVERS[request.param](sessions_api.base_url) as address:
        yield address


def body_of(response: bytes) -> str:
    """The text of a response, without the framing of chunks."""
    body = response.partition(b"\r\n\r\n")[2]
    return re.sub(rb"(?:^|\r\n)[0-9A-Fa-f]+\r\n", b"", body.removesuffix(b"\r\n")).decode()


def test_server_serves_the_same_bytes_and_keeps_requests_apart(
    address: Address, sessions_api: SessionsAPI
) -> None:
    """One start of a server proves them all, as starting is what takes time.

    On the wire nothing changes, for bodies of every kind; ``close`` is called once, in the session; streams
    have one session each; and no worker keeps any of them for the next request.
    """
    for kind in KINDS:
        for method in ("GET", "HEAD"):
            expected = get_raw(address, f"/bare/{kind}", method)
            assert re.match(rb"HTTP/1\.[01] (200|204|500) ", expected)
            assert get_raw(address, f"/scoped/{kind}", method) == expected
            told = get_raw(address, f"/told/{kind}", method)
            if kind == "error":
                assert told == expected
            elif headers_named("X-Session-ID", told):
                (session_id,) = headers_named("X-Session-ID", told)
                assert re.sub(rb"(?i)x-session-id: \w+\r\n", b"", told) == expected
                assert SESSION_ID.fullmatch(session_id)
            else:
                assert (kind, method) == ("closing", "GET")
            assert body_of(get_raw(address, "/bare/current")) == "None"
    assert wsgi_application.CONTENT in get_raw(address, "/scoped/file")
    get_raw(address, "/scoped/failing")
    assert body_of(get_raw(address, "/bare/current")) == "None"

    closed = body_of(get_raw(address, "/bare/closed")).split()
    assert [each == "None" for each in closed] == [True, False, False] * 2
    assert len(set(closed)) == 1 + 4

    posts = sessions_api.posts
    with ThreadPoolExecutor(8) as threads:
        streams = list(threads.map(lambda _: get_raw(address, "/told/ids"), range(16)))
    ids = [body_of(stream).split() for stream in streams]
    assert [len(each) for each in ids] == [4] * 16
    assert all(
        {*each} == {*headers_named("X-Session-ID", stream)} for each, stream in zip(ids, streams, strict=True)
    )
    assert len({each[0] for each in ids}) == sessions_api.posts - posts == 16
    assert all(SESSION_ID.fullmatch(each[0]) for each in ids)
