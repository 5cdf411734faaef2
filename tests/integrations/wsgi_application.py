"""What real WSGI servers serve: ``/bare/KIND``, ``/scoped/KIND`` and ``/told/KIND`` (with the header)."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import FileWrapper

from hl_sessions import current_session, current_session_id
from hl_sessions.integrations.wsgi import HLSessionMiddleware

CONTENT = b"0123456789" * 10_000
TEXT = ("Content-Type", "text/plain")

closed: list[str] = []


class Sized:
    """One chunk, which a server may take for the whole body, and knows its length."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"one chunk"

    def __len__(self) -> int:
        return 1


class Closing:
    """Counts how often it is closed, and in which session."""

    def __iter__(self) -> Iterator[bytes]:
        current_session_id()
        yield b"one"
        yield b"two"

    def close(self) -> None:
        closed.append(str(current_session_id()))


def generator(start_response: Any) -> Iterator[bytes]:
    current_session_id()
    start_response("200 OK", [TEXT, ("X-Odd", "\xff")])
    yield b""
    yield b"one"
    yield b"two"


def failing(start_response: Any) -> Iterator[bytes]:
    current_session_id()
    start_response("200 OK", [TEXT])
    yield b"one"
    raise LookupError


def ids(start_response: Any) -> Iterable[bytes]:
    at_the_call = str(current_session_id())

    def stream() -> Iterator[bytes]:
        yield at_the_call.encode()
        for _ in range(3):
            yield f" {current_session_id()}".encode()

    start_response("200 OK", [TEXT])
    return stream()


def file(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    opened = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
    opened.write(CONTENT)
    opened.seek(0)
    start_response("200 OK", [TEXT, ("Content-Length", str(len(CONTENT)))])
    wrapped: Iterable[bytes] = environ.get("wsgi.file_wrapper", FileWrapper)(opened, 4096)
    return wrapped


def respond(kind: str, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: PLR0911
    """Answer; every kind but ``current`` and ``closed`` reads the session ID."""
    match kind:
        case "current":
            start_response("200 OK", [TEXT])
            return [str(current_session()).encode()]
        case "closed":
            start_response("200 OK", [TEXT])
            return [" ".join(closed).encode()]
        case "generator":
            return generator(start_response)
        case "failing":
            return failing(start_response)
        case "ids":
            return ids(start_response)
    current_session_id()
    match kind:
        case "file":
            return file(environ, start_response)
        case "write":
            write = start_response("200 OK", [TEXT])
            write(b"written")
            return [b"returned"]
        case "error":
            raise LookupError
        case "empty":
            start_response("204 No Content", [])
            return []
    start_response("200 OK", [TEXT, ("X-Twice", "1"), ("x-twice", "2")])
    bodies: dict[str, Iterable[bytes]] = {
        "list": [b"hello"],
        "lists": [b"hello", b"", b"world"],
        "sized": Sized(),
        "closing": Closing(),
    }
    return bodies[kind]


def bare(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    return respond(environ["PATH_INFO"].rpartition("/")[2], environ, start_response)


WAYS: dict[str, Callable[[Any, Any], Iterable[bytes]]] = {
    "bare": bare,
    "scoped": HLSessionMiddleware(bare),
    "told": HLSessionMiddleware(bare, response_header="X-Session-ID"),
}


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    way = environ["PATH_INFO"].split("/")[1]
    return WAYS[way](environ, start_response)
