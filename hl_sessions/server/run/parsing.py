"""Reads HTTP with a parser in C, as strictly as the one in Python, and accepts any method and target."""

import re
from typing import Final
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD: Final = 64 * 1024
"""The longest head of a request, in bytes, not counting its first packet. This also limits any part of a
body that is no content, such as a trailer.
"""

_USUAL: Final = re.compile(rb"(?:DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT) /")
_UNUSUAL: Final = re.compile(
    rb"(?P<method>[!#$%&'*+.^_`|~0-9A-Za-z-]+) (?P<target>[\x21-\x7e]+)(?P<rest> HTTP/1\.[01]\r\n)"
)
# The parser treats all methods alike, except CONNECT.
_AS_USUAL: Final = rb"POST /\g<rest>"


class _HostError(Exception):
    """The host of the request is missing or ambiguous, so it is answered 400 (RFC 9112, 3.2)."""


class ParsingInC(HttpToolsProtocol):
    """A connection that passes on requests for exactly one host, with any method and any whole target.

    The parser by itself refuses methods that it has no name for. If the target is a URL, as for a proxy,
    uvicorn passes on only its path, although its host takes precedence over the header (RFC 9112, 3.2.2). The
    trailer of a chunked body is dropped, because no part of it is meant for the head (RFC 9110, 6.5.1).
    """

    _is_between = True
    _reads_head = False
    _beside_body = 0
    _unusual: re.Match[bytes] | None = None

    def data_received(self, data: bytes) -> None:
        """Read what has arrived."""
        if not self._is_between:
            self._beside_body += len(data)
        elif not _USUAL.match(data):
            self._unusual = _UNUSUAL.match(data)
            if self._unusual is not None:
                data = self._unusual.expand(_AS_USUAL) + data[self._unusual.end() :]
        super().data_received(data)
        if self._is_between or self._beside_body <= LONGEST_HEAD or self.transport.is_closing():
            return
        if self._reads_head:
            self.send_400_response(f"The head of the request is longer than {LONGEST_HEAD} bytes.")
        else:
            # There may be an answer already.
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to read a head."""
        self._is_between, self._reads_head, self._beside_body = False, True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Pass on a request; its body may still be arriving."""
        self._reads_head = False
        hosts = [name for name, _value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            raise _HostError
        super().on_headers_complete()
        # The scope has those of the head.
        self.headers = []
        if self._unusual is not None:
            # The application is called in the next turn of the loop.
            target = self._unusual["target"]
            path, _, query = target.partition(b"?")
            self.scope["method"] = self._unusual["method"].decode()
            self.scope["path"] = unquote(path.decode())
            self.scope["raw_path"] = path
            self.scope["query_string"] = query
            self._unusual = None

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._beside_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Begin to wait for the next request."""
        self._is_between = True
        super().on_message_complete()
