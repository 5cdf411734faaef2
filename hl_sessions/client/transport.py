"""HTTP with one API: sends requests, reads bounded answers, and turns failures into our errors."""

from __future__ import annotations

import itertools
import json
import secrets
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import requests
import urllib3

from hl_sessions.client import retries
from hl_sessions.client.adapter import DeadlineAdapter
from hl_sessions.client.answers import is_success
from hl_sessions.client.connections import Connections
from hl_sessions.client.failures import Failures
from hl_sessions.client.http1 import MAX_BODY, MalformedAnswer, head_bytes
from hl_sessions.client.interception import is_intercepted
from hl_sessions.client.retries import RETRIED_STATUSES, pause_before
from hl_sessions.client.tls import client_context
from hl_sessions.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    HLSessionsError,
)
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.interruptions import is_interruption
from hl_sessions.process.outcome import Outcome
from hl_sessions.process.waits import Blocking, Known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hl_sessions.client.answers import Answer
    from hl_sessions.client.deadline import Deadline

__all__ = ["Request", "Transport"]

READ_SIZE = 65536  # bytes
FIRST_PATCH_OF_URLLIB3_FUTURE = 900  # its versions are 2.25.904 and the like


class Request:
    """A request, for ``requests`` and for the wire."""

    def __init__(self, prepared: requests.PreparedRequest, body: bytes = b"") -> None:
        self.prepared = prepared
        self.body = body
        self._wire = b""

    def accepting(self, content_types: str) -> Request:
        """Return a copy for other types of content."""
        prepared = self.prepared.copy()
        prepared.headers["Accept"] = content_types
        return Request(prepared)

    def with_body(self, body: bytes) -> Request:
        """Return a copy with a JSON body."""
        prepared = self.prepared.copy()
        prepared.body = body
        prepared.headers["Content-Type"] = "application/json"
        prepared.headers["Content-Length"] = str(len(body))
        return Request(prepared, body)

    def wire(self, host: str) -> bytes:
        """Return the bytes of its head, without the empty line at the end."""
        if not self._wire:
            prepared = self.prepared
            headers = {name: str(value) for name, value in prepared.headers.items()}
            self._wire = head_bytes(prepared.method or "", prepared.path_url, host, headers)
        return self._wire


class Transport:
    """The exchanges with one API, safe to share between threads, tasks and forked processes.

    Requests are sent over our own connections, which keep deadlines, and which event loops can wait for.
    Behind a proxy, and for a streamed answer, they are sent by ``requests``. If ``requests`` was replaced, by
    ``http_session`` or by a test double, the replacement sends all requests.

    Args:
        base_url: the URL of the API.
        headers: the headers of each request.
        api_key: the key among the headers, which no error shows; ``None``: there is no key.
        retries: the number of further attempts after a failed one.
        http_session: sends all requests; ``None``: they are sent as described above.

    Raises:
        ConfigurationError: another library has replaced urllib3.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        api_key: str | None,
        *,
        retries: int,
        http_session: requests.Session | None,
    ) -> None:
        _check_urllib3()
        self._base_url = base_url
        self._headers = headers
        self._retries = retries
        self._http_session = http_session
        self._failures = Failures(base_url, api_key)
        self._closed = False
        self._keeps_connections = True
        self._renew_after_fork()
        environment = self._environment
        self._is_proxied = bool(requests.utils.select_proxy(base_url, environment["proxies"]))
        self._connections = Connections(
            self.prepare("GET", "").prepared.url or "",
            lambda: client_context(environment["verify"], environment["cert"]),
        )
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        # An idempotency key is a part that no other process has, and a number. In PyPy a random number opens
        # a file, which fails if a burst has taken all descriptors.
        self._first_part = secrets.token_hex(16)
        self._numbers = itertools.count()
        self._http = requests.Session()
        self._http.headers.clear()  # also of "Connection: keep-alive", which HTTP/1.1 does not need
        self._http.headers.update(self._headers)
        adapter = DeadlineAdapter()
        self._http.mount("http://", adapter)
        self._http.mount("https://", adapter)
        self._environment = self._http.merge_environment_settings(
            self._base_url, {}, stream=True, verify=None, cert=None
        )

    def close(self) -> None:
        """Close the connections. A call that is under way still gets its answer; a later call fails."""
        self._closed = True
        self.retire()

    def retire(self) -> None:
        """Close the idle connections, and each other one at the end of its exchange, from now on."""
        self._keeps_connections = False
        self._connections.close()
        self._http.close()

    def prepare(self, method: str, path: str, query: Mapping[str, str | int] | None = None) -> Request:
        """Build a request to a path below the URL of the API."""
        # No netrc: the key is the only credential, and only the caller sets it.
        return Request(
            self._http.prepare_request(
                requests.Request(method, self._base_url + path, params=query, auth=lambda request: request)
            )
        )

    async def exchange(
        self, request: Request, deadline: Deadline, *, is_read: bool = True, key: str = ""
    ) -> Answer:
        """Send a request, with retries, and return the answer, of any status.

        Args:
            request: a request of :meth:`prepare`.
            deadline: when the answer has to be complete.
            is_read: whether to read the content of a successful answer; that of others is always read.
            key: the idempotency key; empty: each ``POST`` gets a new key.

        Raises:
            APIConnectionError: there is no answer, or the transport is closed.
            APITimeoutError: there is no answer within the deadline.
            InvalidResponseError: the answer is too long, or not HTTP.
        """
        if self._closed:
            raise APIConnectionError("the client is closed; make a new one")
        if not key and request.prepared.method == "POST":
            key = f"{self._first_part}{next(self._numbers):x}"
        for attempt in range(self._retries + 1):
            outcome = await self._attempt(request, key, deadline, is_read=is_read)
            if not isinstance(outcome, APIConnectionError):
                if outcome.status_code not in RETRIED_STATUSES:
                    return outcome
                pause = pause_before(attempt, outcome.headers)
            else:
                pause = pause_before(attempt)
            if attempt == self._retries or pause >= min(deadline.remaining(), retries.RETRY_AFTER_MAX):
                break
            await self._pause(pause, deadline)
        if isinstance(outcome, APIConnectionError):
            raise outcome
        return outcome

    def as_response(self, answer: Answer, request: Request) -> requests.Response:
        """Return an answer to a request as a ``requests.Response``."""
        if isinstance(answer, requests.Response):
            return answer
        response = requests.Response()
        response.status_code, response.reason = answer.status_code, answer.reason
        response.headers.update(answer.headers)
        response._content, response._content_consumed = answer.content, True
        response.request, response.url = request.prepared, request.prepared.url or ""
        return response

    def content(self, answer: Answer) -> Any:
        """Return the JSON of an answer that was read.

        Raises:
            InvalidResponseError: it is not JSON.
        """
        with suppress(ValueError, RecursionError):
            return json.loads(answer.content)
        # Not chained, as the decoder's exception holds the whole body.
        raise self._failures.no_json(answer)

    def status_error(self, answer: Answer, seconds: float) -> APIStatusError:
        """Return the error for an answer that is no success, ``seconds`` after the request."""
        return self._failures.status(answer, seconds)

    async def _pause(self, seconds: float, deadline: Deadline) -> None:
        is_over: Outcome[None] = Outcome()
        deadline.on_abort(partial(is_over.set, None))
        await Known(is_over, seconds)
        deadline.end_exchange()

    async def _attempt(
        self, request: Request, key: str, deadline: Deadline, *, is_read: bool
    ) -> Answer | APIConnectionError:
        """Return the answer, or a failure that may be tried again; raise any other failure."""
        if not deadline.remaining():
            return APITimeoutError(f"no time was left to ask {self._base_url}")
        try:
            if self._is_proxied or not is_read or self._is_replaced():
                ask = partial(self._ask_requests, request, key, deadline, is_read=is_read)
                answer: Answer = await Blocking(ask)
                return answer
            wire = request.wire(self._connections.host)
            if key:
                wire += f"Idempotency-Key: {key}\r\n".encode()
            return await self._connections.exchange(wire + b"\r\n" + request.body, deadline)
        except Exception as error:
            # A hostile answer can fail anywhere in the parsers.
            if is_interruption(error):
                raise
            failure = error if isinstance(error, HLSessionsError) else self._failures.no_answer(error)
        # Raised out here, as the context of the error would hold the request, and with it the key.
        if isinstance(failure, APIConnectionError):
            return failure
        raise failure

    def _is_replaced(self) -> bool:
        """Whether ``requests`` was replaced."""
        return self._http_session is not None or is_intercepted()

    def _ask_requests(
        self, request: Request, key: str, deadline: Deadline, *, is_read: bool
    ) -> requests.Response:
        deadline.note_begin()
        if not deadline.remaining():
            raise TimeoutError("no thread was free in time")
        prepared = request.prepared
        if key:
            prepared = prepared.copy()
            prepared.headers["Idempotency-Key"] = key
        try:
            if self._is_replaced():
                http = self._http_session or requests.Session()
                environment = http.merge_environment_settings(
                    self._base_url, {}, stream=True, verify=None, cert=None
                )
                answer = http.send(
                    prepared, timeout=deadline.remaining(), allow_redirects=False, **environment
                )
            else:
                # The adapter itself, as a session would add cookies, redirects and hooks.
                adapter = self._http.get_adapter(self._base_url)
                options: dict[str, Any] = {"timeout": deadline, **self._environment}
                answer = adapter.send(prepared, **options)
            if is_read or not is_success(answer):
                answer._content, answer._content_consumed = self._read(answer, deadline), True
        finally:
            deadline.end_exchange()
            if not self._keeps_connections:  # the adapter has kept the connection of this exchange
                self._http.close()
        return answer

    def _read(self, answer: requests.Response, deadline: Deadline) -> bytes:
        if answer.raw is None:  # from an adapter without a network
            return answer.content
        content = bytearray()
        try:
            # Not decoded: an answer that is encoded nevertheless could grow without limit.
            for chunk in answer.raw.stream(READ_SIZE, decode_content=False):
                content += chunk
                if len(content) > MAX_BODY:
                    raise MalformedAnswer(f"it has more than {MAX_BODY} bytes")
                if not deadline.remaining():
                    raise TimeoutError("the answer did not come in time")
        finally:
            answer.close()
        return bytes(content)


def _check_urllib3() -> None:
    # niquests installs urllib3-future, which overwrites the package urllib3. With niquests 3.21.2 a time
    # limit of one second took more than forty.
    version = urllib3.__version__  # type: ignore[attr-defined]
    patch = version.rpartition(".")[2]
    if patch.isdecimal() and int(patch) >= FIRST_PATCH_OF_URLLIB3_FUTURE:
        raise ConfigurationError(
            f"urllib3 {version} is urllib3-future, by which niquests replaces urllib3: the time limits of"
            " this client do not work on it. Install niquests with URLLIB3_NO_OVERRIDE=1 and"
            " --no-binary urllib3-future, or in another environment"
        )
