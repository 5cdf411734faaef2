"""One request and one answer of HTTP/1.1 (RFC 9112), within bounds."""

from __future__ import annotations

import re
from functools import lru_cache
from http.client import HTTPException
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_BODY", "ByteStream", "HTTPAnswer", "MalformedAnswer", "head_bytes", "read_answer"]

MAX_HEAD = 65536  # bytes besides the body: status lines, headers, sizes of chunks, trailers
MAX_LINE = 4096  # bytes of the line before a chunk
MAX_BODY = 1 << 20  # bytes

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: ([^\r\n]*))?\r?")
_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(rb"\d{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class MalformedAnswer(HTTPException):
    """An answer that is not HTTP, or is too long."""


class ByteStream(Protocol):
    """The source of the bytes of an answer."""

    #: The bytes that have arrived and are not used yet.
    buffer: bytearray

    async def fill(self) -> bool:
        """Wait for more bytes, and put them into the buffer; ``False``: the stream has ended."""


class HTTPAnswer(NamedTuple):
    """A complete answer. Names of headers are in lower case; several values of one are joined by commas."""

    status_code: int
    reason: str
    headers: Mapping[str, str]
    content: bytes
    #: Whether the connection cannot carry another request.
    is_last: bool


class _Head(NamedTuple):
    """The head of an answer. Equal heads share one object, so it must not be changed."""

    minor_version: int
    status: int
    reason: str
    headers: dict[str, str]


def head_bytes(method: str, target: str, host: str, headers: Mapping[str, str]) -> bytes:
    """Return the head of a request, without the empty line at its end."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += (f"{name}: {value}" for name, value in headers.items())
    return "\r\n".join([*lines, ""]).encode("latin-1")


async def read_answer(stream: ByteStream) -> HTTPAnswer:
    """Read the answer to a request that is not HEAD.

    Raises:
        ConnectionError: the stream ended before the answer was complete.
        MalformedAnswer: the answer is not HTTP, longer than :data:`MAX_BODY`, or its head is longer than
            :data:`MAX_HEAD`.
    """
    allowance = MAX_HEAD
    while True:
        block = await _read_head(stream, allowance)
        head = _parsed_head(block)
        if head.status >= 200 or head.status == 101:  # noqa: PLR2004 - others only announce the answer
            break
        allowance -= len(block)
    headers = head.headers
    connection = headers.get("connection", "").lower()
    is_last = "close" in connection or (not head.minor_version and "keep-alive" not in connection)
    if head.status in {204, 304}:
        content = b""
    elif "transfer-encoding" in headers:
        if headers["transfer-encoding"].strip().lower() != "chunked":
            raise MalformedAnswer("its transfer encoding is not chunked")
        # With a length, too, RFC 9112 demands to close the connection, as it may be request smuggling.
        is_last = is_last or "content-length" in headers
        content = await _read_chunks(stream, allowance)
    elif "content-length" in headers:
        content = await _read_exactly(stream, _parsed_length(headers["content-length"]))
    else:
        is_last = True
        content = await _read_to_end(stream)
    # Bytes beyond the answer belong to no request.
    return HTTPAnswer(head.status, head.reason, headers, content, is_last or bool(stream.buffer))


async def _read_head(stream: ByteStream, allowance: int) -> bytes:
    buffer = stream.buffer
    start = 0
    while True:
        end = _END_OF_HEAD.search(buffer, start)
        if end is not None and end.end() <= allowance:
            head = bytes(buffer[: end.start()])
            del buffer[: end.end()]
            return head
        if len(buffer) > allowance:
            raise MalformedAnswer(f"its head is longer than {MAX_HEAD} bytes")
        if not b"HTTP/1.".startswith(buffer[:7]):
            raise MalformedAnswer(f"not HTTP: {bytes(buffer[:64])!r}")
        start = max(0, len(buffer) - 2)
        if not await stream.fill():
            if buffer:
                raise MalformedAnswer("its head is incomplete")
            raise ConnectionError("the connection was closed without an answer")


@lru_cache(maxsize=16)  # a server repeats the same heads
def _parsed_head(block: bytes) -> _Head:
    status_line, *lines = block.split(b"\n")
    match = _STATUS_LINE.fullmatch(status_line)
    if match is None:
        raise MalformedAnswer(f"not HTTP: {status_line[:64]!r}")
    headers: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1] in {b" ", b"\t"} and name:  # obsolete folding continues the value
            headers[name] += " " + line.strip().decode("latin-1")
            continue
        raw_name, colon, value = line.partition(b":")
        if not colon or not _HEADER_NAME.fullmatch(raw_name):
            raise MalformedAnswer(f"not a header: {line[:64]!r}")
        name = raw_name.decode("ascii").lower()
        text = value.strip().decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return _Head(int(match[1]), int(match[2]), (match[3] or b"").strip().decode("latin-1"), headers)


@lru_cache(maxsize=16)
def _parsed_length(value: str) -> int:
    lengths = {length.strip() for length in value.split(",")}
    if len(lengths) != 1 or not _LENGTH.fullmatch(next(iter(lengths)).encode("latin-1")):
        raise MalformedAnswer(f"its length is {value[:64]!r}")
    length = int(lengths.pop())
    if length > MAX_BODY:
        raise MalformedAnswer(f"it has more than {MAX_BODY} bytes")
    return length


async def _read_exactly(stream: ByteStream, length: int) -> bytes:
    buffer = stream.buffer
    while len(buffer) < length:
        if not await stream.fill():
            raise ConnectionError(f"the connection was closed after {len(buffer)} of {length} bytes")
    content = bytes(buffer[:length])
    del buffer[:length]
    return content


async def _read_to_end(stream: ByteStream) -> bytes:
    while await stream.fill():
        _check_size(len(stream.buffer))
    content = bytes(stream.buffer)
    stream.buffer.clear()
    return content


async def _read_chunks(stream: ByteStream, allowance: int) -> bytes:
    content = bytearray()
    while True:
        line = await _read_line(stream, MAX_LINE)
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise MalformedAnswer("the size of a chunk is no number")
        allowance -= len(line)
        if allowance < 0:  # too many small chunks, each of which costs time
            raise MalformedAnswer(f"there are more than {MAX_HEAD} bytes around its body")
        size = int(match[1], 16)
        _check_size(len(content) + size)
        if not size:
            break
        content += await _read_exactly(stream, size)
        if await _read_line(stream, MAX_LINE):
            raise MalformedAnswer("a chunk is longer than its size")
    while trailer := await _read_line(stream, allowance):
        allowance -= len(trailer)
    return bytes(content)


async def _read_line(stream: ByteStream, allowance: int) -> bytes:
    buffer = stream.buffer
    while (end := buffer.find(b"\n")) < 0 or end > allowance:
        if len(buffer) > allowance:
            raise MalformedAnswer("a line is too long")
        if not await stream.fill():
            raise ConnectionError("the connection was closed within a chunk")
    line = bytes(buffer[:end]).removesuffix(b"\r")
    del buffer[: end + 1]
    return line


def _check_size(size: int) -> None:
    if size > MAX_BODY:
        raise MalformedAnswer(f"it has more than {MAX_BODY} bytes")
