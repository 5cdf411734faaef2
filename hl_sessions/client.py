"""The three calls of the v4 sessions API.

What goes over the wire is that of the vendor's own SDK for the v4 API: ``POST /sessions`` with an empty
body, ``GET /sessions/{id}`` and ``GET /sessions``, with the key in ``X-API-KEY``.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar
from urllib.parse import quote

import requests
from urllib3.exceptions import (
    InvalidChunkLength,
    InvalidHeader,
    MaxRetryError,
    NewConnectionError,
)
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from hl_sessions.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    HLSessionsError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    ServerError,
    ValidationError,
)
from hl_sessions.event_loop import WorkerThreads
from hl_sessions.fork import renew_after_fork
from hl_sessions.interruptions import is_interruption
from hl_sessions.settings import checked_api_key, checked_base_url, checked_count, checked_seconds
from hl_sessions.transport import Deadline, DeadlineAdapter, retry_after_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from typing_extensions import Self, Unpack

__all__ = [
    "DEFAULT_RETRIES",
    "DEFAULT_TIMEOUT",
    "CallOptions",
    "CreatedSession",
    "Response",
    "SessionPage",
    "SessionProject",
    "SessionRecord",
    "SessionsClient",
    "is_session_id",
]

DEFAULT_TIMEOUT = 5.0  # seconds
DEFAULT_RETRIES = 2
MAX_BODY = 1 << 20  # bytes
MAX_SHOWN = 200  # characters of what a server has sent, in a message

_SESSION_ID = re.compile(r"sesh_[A-Za-z0-9_-]{1,64}")

Body = TypeVar("Body")
Result = TypeVar("Result")


def is_session_id(value: object) -> bool:
    """Whether ``value`` is a string of the form that session IDs have, ``sesh_`` and up to 64 more."""
    return isinstance(value, str) and _SESSION_ID.fullmatch(value) is not None


class CreatedSession(TypedDict):
    """The body of ``POST /sessions``."""

    id: str


class SessionProject(TypedDict):
    """A project that has datapoints in a session."""

    id: str
    name: str


class _RequiredSessionRecord(TypedDict):
    id: str
    projects: list[SessionProject]
    datapoints_count: int
    created_at: str


class SessionRecord(_RequiredSessionRecord, total=False):
    """A session with what it holds; times are ISO 8601. What has no value is left out."""

    updated_at: str
    reference_id: str
    first_inputs: dict[str, Any]
    last_output: str


class SessionPage(TypedDict):
    """The body of ``GET /sessions``; ``page`` counts from 1, ``total`` counts the sessions of all pages."""

    records: list[SessionRecord]
    page: int
    size: int
    total: int


@dataclass(frozen=True)
class Response(Generic[Body]):
    """A successful answer.

    Attributes:
        body: the decoded and checked body; ``None`` with ``skip_deserialization=True``.
        headers: the response headers, with case-insensitive names.
        status: the HTTP status code.
        round_trip_time: seconds from sending the request to the end of what was read of the answer.
        response: the answer as ``requests`` gives it; with ``stream=True`` and
            ``skip_deserialization=True`` its content is not read yet, and it is yours to close.
    """

    body: Body
    headers: Mapping[str, str]
    status: int
    round_trip_time: float
    response: requests.Response = field(repr=False)


class CallOptions(TypedDict, total=False):
    """What every call takes by keyword, as the vendor's calls do.

    - ``timeout``: seconds in all, or a pair of seconds: to connect, and for the rest; or a deadline that
      several calls share.
    - ``stream``: with ``skip_deserialization``, do not read the content in advance.
    - ``skip_deserialization``: neither decode nor check the body.
    - ``accept_content_types``: what to ask for, ``("application/json",)`` by default.
    """

    timeout: float | tuple[float, float] | Deadline | None
    stream: bool
    skip_deserialization: bool
    accept_content_types: Sequence[str]


class SessionsClient:
    """A client of the v4 sessions API, safe to share between threads, tasks and forked processes.

    Args:
        base_url: the URL up to and with the version, such as ``http://127.0.0.1:8642/v4``.
        api_key: sent as ``X-API-KEY``; ``None`` leaves the header out.
        api_key_prefix: a word to send before the key, such as ``Bearer``.
        timeout: seconds that one call may take in all, retries and a slow answer included.
        retries: how many more attempts follow one that failed to connect, or was answered with 429,
            502, 503 or 504.

    All calls take the keywords of :class:`CallOptions`.
    All calls raise an error of the tree in :mod:`hl_sessions.errors`. Redirects are not followed.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        api_key_prefix: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: int = DEFAULT_RETRIES,
    ) -> None:
        self.base_url = checked_base_url("base_url", base_url)
        self.timeout = checked_seconds("timeout", timeout)
        self.retries = checked_count("retries", retries)
        self._api_key = None if api_key is None else checked_api_key("api_key", api_key)
        # Also as a repr or JSON text shows it, with backslashes before some characters.
        self._shown_key = api_key and re.compile(r"\\*".join(map(re.escape, api_key)))
        self._headers = {
            "User-Agent": f"hl-sessions/{version('hl-sessions')}",
            "Accept": "application/json",
            # The answers are small; an encoded one could grow without limit when it is decoded.
            "Accept-Encoding": "identity",
        }
        if self._api_key is not None:
            prefix = "" if api_key_prefix is None else checked_api_key("api_key_prefix", api_key_prefix) + " "
            self._headers["X-API-KEY"] = prefix + self._api_key
        self._workers = WorkerThreads()
        self._closed = False
        self._renew_after_fork()
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    def _renew_after_fork(self) -> None:
        self._http = requests.Session()
        self._http.headers.clear()  # "Connection: keep-alive" among them, which HTTP/1.1 does without
        self._http.headers.update(self._headers)
        adapter = DeadlineAdapter(self.retries)
        self._http.mount("http://", adapter)
        self._http.mount("https://", adapter)
        self._environment = self._http.merge_environment_settings(
            self.base_url, {}, stream=True, verify=None, cert=None
        )
        self._create_request = self._prepare("POST", "/sessions")

    def close(self) -> None:
        """Close the connections and let the threads end.

        A call that is under way still gets its answer; a later one raises ``APIConnectionError``.
        """
        self._closed = True
        self._http.close()
        self._workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def create(self, **options: Unpack[CallOptions]) -> Response[CreatedSession]:
        """Create a session (``POST /sessions``)."""
        return self._call(self._create_request, _check_created, **options)

    async def acreate(self, **options: Unpack[CallOptions]) -> Response[CreatedSession]:
        """Do what :meth:`create` does without blocking the event loop."""
        return await self._acall(self.create, **options)

    def get(self, id: str, **options: Unpack[CallOptions]) -> Response[SessionRecord]:  # noqa: A002
        """Look up one session (``GET /sessions/{id}``).

        Raises:
            TypeError: ``id`` is not a string.
            ValueError: ``id`` is empty.
        """
        request = self._prepare("GET", "/sessions")
        # Set as it is: ``requests`` would take the escapes of dots out again, and ".." changes the path.
        request.url = f"{request.url}/{_path_segment('id', id)}"
        return self._call(request, _check_record, **options)

    async def aget(self, id: str, **options: Unpack[CallOptions]) -> Response[SessionRecord]:  # noqa: A002
        """Do what :meth:`get` does without blocking the event loop."""
        return await self._acall(self.get, id, **options)

    def list(
        self, project_id: str, *, page: int = 1, size: int = 10, **options: Unpack[CallOptions]
    ) -> Response[SessionPage]:
        """Look up a page of the sessions that hold a datapoint of a project, newest first.

        Raises:
            TypeError: ``project_id`` is not a string, ``page`` or ``size`` is not an integer.
            ValueError: ``project_id`` is empty, ``page`` or ``size`` is below 1.
        """
        query: dict[str, str | int] = {
            "project_id": _checked_text("project_id", project_id),
            "page": _checked_positive("page", page),
            "size": _checked_positive("size", size),
        }
        return self._call(self._prepare("GET", "/sessions", query), _check_page, **options)

    async def alist(
        self, project_id: str, *, page: int = 1, size: int = 10, **options: Unpack[CallOptions]
    ) -> Response[SessionPage]:
        """Do what :meth:`list` does without blocking the event loop."""
        return await self._acall(self.list, project_id, page=page, size=size, **options)

    def iter(
        self, project_id: str, *, size: int = 100, **options: Unpack[CallOptions]
    ) -> Iterator[SessionRecord]:
        """Yield the sessions of all pages, newest first, looking a page up when it is needed.

        Args:
            project_id: as for :meth:`list`, as are the options and the errors.
            size: sessions on a page.
        """
        page, seen = 1, 0
        while True:
            body = self.list(project_id, page=page, size=size, **options).body
            yield from body["records"]
            page, seen = page + 1, seen + len(body["records"])
            if not body["records"] or seen >= body["total"]:
                return

    async def aiter(
        self, project_id: str, *, size: int = 100, **options: Unpack[CallOptions]
    ) -> AsyncIterator[SessionRecord]:
        """Do what :meth:`iter` does without blocking the event loop."""
        page, seen = 1, 0
        while True:
            body = (await self.alist(project_id, page=page, size=size, **options)).body
            for record in body["records"]:
                yield record
            page, seen = page + 1, seen + len(body["records"])
            if not body["records"] or seen >= body["total"]:
                return

    def _prepare(
        self, method: str, path: str, query: Mapping[str, str | int] | None = None
    ) -> requests.PreparedRequest:
        # No netrc: the key is the only credential, and only the caller says which.
        return self._http.prepare_request(
            requests.Request(method, self.base_url + path, params=query, auth=lambda request: request)
        )

    async def _acall(
        self,
        call: Callable[..., Result],
        *args: Any,
        timeout: float | tuple[float, float] | Deadline | None = None,
        **options: Any,
    ) -> Result:
        # The time that the call waits for a thread counts, too.
        return await self._workers.run(call, *args, timeout=self._deadline(timeout), **options)

    def _call(
        self,
        request: requests.PreparedRequest,
        check: Callable[[Any], Body],
        *,
        timeout: float | tuple[float, float] | Deadline | None = None,
        stream: bool = False,
        skip_deserialization: bool = False,
        accept_content_types: Sequence[str] = (),
    ) -> Response[Body]:
        deadline = self._deadline(timeout)
        if accept_content_types:
            request = request.copy()
            request.headers["Accept"] = _accepted(accept_content_types)
        started = time.perf_counter()
        try:
            answer = self._send(request, deadline)
            succeeded = 200 <= answer.status_code < 300  # noqa: PLR2004 - what HTTP calls success
            if not (succeeded and stream and skip_deserialization):
                answer._content, answer._content_consumed = self._read(answer), True
        finally:
            if self._closed:  # meanwhile: the connection that was in use then has been kept again
                self._http.close()
        seconds = time.perf_counter() - started
        if not succeeded:
            raise self._status_error(answer, seconds)
        if skip_deserialization:
            unset: Any = None
            return Response(unset, unset, answer.status_code, seconds, answer)
        return Response(check(_decoded(answer)), answer.headers, answer.status_code, seconds, answer)

    def _send(self, request: requests.PreparedRequest, deadline: Deadline) -> requests.Response:
        if self._closed:
            raise APIConnectionError("the client is closed; make a new one")
        if not deadline.remaining():
            raise APITimeoutError(f"no time was left to ask {self.base_url}")
        try:
            # A time-out of urllib3 is what the adapter passes on as it is.
            options: dict[str, Any] = {"timeout": deadline, **self._environment}
            # The adapter itself: a session adds cookies, redirects and hooks, and none are wanted.
            return self._http.get_adapter(self.base_url).send(request, **options)
        except Exception as error:
            # A hostile answer can fail anywhere below.
            if is_interruption(error):
                raise
            failure = self._failure(error)
        # Out here, as the error's context would hold the request, and with it the key.
        raise failure

    def _read(self, answer: requests.Response) -> bytes:
        content = bytearray()
        try:
            # As it came: an answer that is encoded nevertheless could grow without limit when decoded.
            for chunk in answer.raw.stream(MAX_BODY, decode_content=False):
                content += chunk
                if len(content) > MAX_BODY:
                    break
            else:
                return bytes(content)
            failure: HLSessionsError = InvalidResponseError(
                f"the sessions API answered with more than {MAX_BODY} bytes"
            )
        except Exception as error:
            if is_interruption(error):  # as above
                raise
            failure = self._failure(error)
        finally:
            answer.close()
        raise failure

    def _failure(self, error: Exception) -> HLSessionsError:
        cause: Any = error
        while isinstance(cause, (requests.RequestException, MaxRetryError)):
            inner = getattr(cause, "reason", None) or next(iter(cause.args), None)
            if not isinstance(inner, Exception):
                break
            cause = inner
        text = self._scrubbed(f"{type(cause).__name__}: {cause}")
        return _failure_type(cause)(f"no answer from {self.base_url}: {_one_line(text)}")

    def _status_error(self, answer: requests.Response, seconds: float) -> APIStatusError:
        text = answer.content.decode("utf-8", "replace")
        try:
            body = self._scrubbed(json.loads(text))
        except (ValueError, RecursionError):
            body = self._scrubbed(text)
        headers = requests.structures.CaseInsensitiveDict(
            {name: self._scrubbed(value) for name, value in answer.headers.items()}
        )
        kind = _status_error_type(answer.status_code)
        reason = _one_line(self._scrubbed(answer.reason or ""))
        error = kind(answer.status_code, reason, body, headers, seconds)
        if isinstance(error, RateLimitError):
            error.retry_after = retry_after_seconds(headers)
        return error

    def _scrubbed(self, value: Any) -> Any:
        """The text, or the decoded JSON, without the key."""
        if not self._shown_key:
            return value
        if isinstance(value, str):
            return self._shown_key.sub("***", value)
        if isinstance(value, list):
            return [self._scrubbed(item) for item in value]
        if isinstance(value, dict):
            return {self._scrubbed(name): self._scrubbed(item) for name, item in value.items()}
        return value

    def _deadline(self, timeout: float | tuple[float, float] | Deadline | None) -> Deadline:
        if isinstance(timeout, Deadline):
            return timeout
        if not isinstance(timeout, tuple):
            return Deadline(checked_seconds("timeout", self.timeout if timeout is None else timeout))
        if len(timeout) != 2:  # noqa: PLR2004 - a pair
            raise ConfigurationError(f"timeout={timeout!r} must be a number or a pair of numbers of seconds")
        connect, rest = (checked_seconds("timeout", part) for part in timeout)
        return Deadline(connect + rest, connect, rest)


def _one_line(text: str) -> str:
    """What a server has sent, fit for a log: nothing that breaks its lines, colours or fills it."""
    short = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
    return "".join(character if character.isprintable() else "?" for character in short)


def _failure_type(cause: Any) -> type[HLSessionsError]:
    # urllib3 counts a refused connection among the time-outs.
    if isinstance(cause, NewConnectionError):
        return APIConnectionError
    if isinstance(cause, (HTTPTimeoutError, TimeoutError)):
        return APITimeoutError
    # What is wrapped in a ProtocolError says whether the connection broke, or what came made no sense.
    inner = next((arg for arg in reversed(cause.args) if isinstance(arg, Exception)), cause)
    if isinstance(inner, (InvalidHeader, InvalidChunkLength)):
        return InvalidResponseError
    if isinstance(inner, HTTPException) and not isinstance(inner, (RemoteDisconnected, IncompleteRead)):
        return InvalidResponseError
    return APIConnectionError


def _status_error_type(status: int) -> type[APIStatusError]:
    if status >= 500:  # noqa: PLR2004 - what HTTP calls server errors
        return ServerError
    return {
        401: AuthenticationError,
        403: AuthenticationError,
        404: NotFoundError,
        422: ValidationError,
        429: RateLimitError,
    }.get(status, APIStatusError)


def _accepted(content_types: Sequence[str]) -> str:
    if isinstance(content_types, str):
        raise TypeError("accept_content_types must be a sequence of str, not a str")
    return ", ".join(content_types)


def _checked_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    return value


def _checked_positive(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name}={value} must be 1 or more")
    return value


def _path_segment(name: str, value: object) -> str:
    text = _checked_text(name, value)
    return quote(text, safe="", errors="surrogatepass").replace(".", "%2E")


def _decoded(answer: requests.Response) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(answer.content)
    # Not chained, as what the decoder raises holds the whole body.
    raise InvalidResponseError(
        f"the sessions API answered {answer.status_code} with a body that is not JSON"
        f" ({len(answer.content)} bytes)"
    )


def _check(body: Any, what: str, required: Mapping[str, type], optional: Mapping[str, type]) -> None:
    if not isinstance(body, dict):
        raise InvalidResponseError(f"{what} is not a JSON object but a {type(body).__name__}")
    for name in required:
        if name not in body:
            raise InvalidResponseError(f"{what} has no {name!r}")
    for name, kind in {**required, **optional}.items():
        if name in body and (
            not isinstance(body[name], kind) or (kind is int and isinstance(body[name], bool))
        ):
            raise InvalidResponseError(f"{name!r} of {what} is a {type(body[name]).__name__}")


def _check_created(body: Any) -> CreatedSession:
    _check(body, "the created session", {"id": str}, {})
    if not is_session_id(body["id"]):
        raise InvalidResponseError("the ID of the created session is not of the form sesh_...")
    return body  # type: ignore[no-any-return]


def _check_record(body: Any) -> SessionRecord:
    _check(
        body,
        "the session",
        {"id": str, "projects": list, "datapoints_count": int, "created_at": str},
        {"updated_at": str, "reference_id": str, "first_inputs": dict, "last_output": str},
    )
    if not is_session_id(body["id"]):
        raise InvalidResponseError("the ID of the session is not of the form sesh_...")
    for project in body["projects"]:
        _check(project, "a project of the session", {"id": str, "name": str}, {})
    return body  # type: ignore[no-any-return]


def _check_page(body: Any) -> SessionPage:
    _check(body, "the page", {"records": list, "page": int, "size": int, "total": int}, {})
    for record in body["records"]:
        _check_record(record)
    return body  # type: ignore[no-any-return]
