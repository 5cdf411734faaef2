"""The three calls of the v4 sessions API.

The requests are those of the vendor's own SDK for the v4 API: ``POST /sessions`` with an empty body,
``GET /sessions/{id}`` and ``GET /sessions``, with the key in ``X-API-KEY``. Only the description of a session
(name, user, metadata) is an addition.
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar
from urllib.parse import quote

from hl_sessions.client.answers import (
    Response,
    check_created,
    check_page,
    check_record,
    is_success,
)
from hl_sessions.client.deadline import Deadline
from hl_sessions.errors import ConfigurationError
from hl_sessions.process.checks import checked_api_key, checked_base_url, checked_count, checked_seconds
from hl_sessions.process.late_imports import late_import
from hl_sessions.process.outcome import Outcome
from hl_sessions.process.runs import Run, current_loop
from hl_sessions.process.waits import Blocking, run_blocking
from hl_sessions.process.worker_threads import WorkerThreads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence

    import requests
    from typing_extensions import Self, Unpack

    from hl_sessions.client.answers import Answer, CreatedSession, SessionPage, SessionRecord
    from hl_sessions.client.transport import Request
    from hl_sessions.process.waits import Wait

__all__ = ["DEFAULT_RETRIES", "DEFAULT_TIMEOUT", "CallOptions", "SessionsClient"]

DEFAULT_TIMEOUT = 5.0  # seconds
DEFAULT_RETRIES = 2

Body = TypeVar("Body")
Result = TypeVar("Result")


class CallOptions(TypedDict, total=False):
    """The keywords of every call, like those of the vendor's calls.

    - ``timeout``: the seconds for the whole call; or a pair of seconds, for the connection and for the rest;
      or a deadline that several calls share.
    - ``stream``: with ``skip_deserialization``, do not read the content in advance.
    - ``skip_deserialization``: neither decode nor check the body.
    - ``accept_content_types``: the types for the header ``Accept``, by default ``("application/json",)``.
    """

    timeout: float | tuple[float, float] | Deadline | None
    stream: bool
    skip_deserialization: bool
    accept_content_types: Sequence[str]


class SessionsClient:
    """A client of the v4 sessions API, safe to share between threads, tasks and forked processes.

    Args:
        base_url: the URL of the API with its version, such as ``http://127.0.0.1:8642/v4``.
        api_key: sent as ``X-API-KEY``; ``None``: the header is left out.
        api_key_prefix: a word to send before the key, such as ``Bearer``.
        timeout: the longest time for one call in seconds, with retries and a slow answer.
        retries: the number of further attempts after one that failed to connect, or was answered with 429,
            502, 503, 504, or 409 (another attempt is still under way).
        http_session: a ``requests.Session`` that sends all requests, with its adapters, proxies, ``verify``
            and ``cert``. The caller closes it. Its time limits apply to each step of an attempt; ``timeout``
            is checked between the steps.

    All calls take the keywords of :class:`CallOptions`. All calls raise errors of :mod:`hl_sessions.errors`.
    Redirects are not followed.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        api_key_prefix: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: int = DEFAULT_RETRIES,
        http_session: requests.Session | None = None,
    ) -> None:
        with late_import:  # a program without a manager needs no HTTP client
            from importlib.metadata import version

            from hl_sessions.client.transport import Transport

            own_version = version("hl-sessions")  # in this block, as it may import, too

        self.base_url = checked_base_url("base_url", base_url)
        self.timeout = checked_seconds("timeout", timeout)
        self.retries = checked_count("retries", retries)
        api_key = None if api_key is None else checked_api_key("api_key", api_key)
        headers = {
            "User-Agent": f"hl-sessions/{own_version}",
            "Accept": "application/json",
            # Answers are small; an encoded one could grow without limit when it is decoded.
            "Accept-Encoding": "identity",
        }
        if api_key is not None:
            prefix = "" if api_key_prefix is None else checked_api_key("api_key_prefix", api_key_prefix) + " "
            headers["X-API-KEY"] = prefix + api_key
        try:
            with late_import:
                self._transport = Transport(
                    self.base_url, headers, api_key, retries=self.retries, http_session=http_session
                )
                self._create_request = self._transport.prepare("POST", "/sessions")
                self._log_requests = {
                    method: self._transport.prepare(method, "/logs") for method in ("POST", "PATCH")
                }
                # The records of a batch, or of a session, may be longer than the longest answer that is read.
                self._log_requests["PATCH"].prepared.headers["Prefer"] = "return=minimal"
        except ValueError as error:  # raised by the HTTP client for an impossible host
            raise ConfigurationError(f"base_url={base_url!r} cannot be called: {error}") from None
        self._workers = WorkerThreads()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    def close(self) -> None:
        """Close the connections, and let the threads end.

        A call that is under way still gets its answer. A later call raises ``APIConnectionError``.
        """
        self._transport.close()
        self._workers.close()

    def _retire(self) -> None:
        """Keep connections open only during a call."""
        self._transport.retire()
        self._workers.retire()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def create(self, **options: Unpack[CallOptions]) -> Response[CreatedSession]:
        """Create a session (``POST /sessions``)."""
        return run_blocking(self._exchange(self._create_request, check_created, **options))

    async def create_id(self, deadline: Deadline, told: Mapping[str, Any]) -> str:
        """Create a session, and return its ID; this coroutine awaits only waits.

        Args:
            deadline: when the answer has to be complete.
            told: the description of the session, as JSON has it; if it is empty, the body is empty, too.
        """
        if self._has_own_way_to_create():
            created: Response[CreatedSession] = await Blocking(partial(self.create, timeout=deadline))
            return created.body["id"]
        request = self._create_request
        if told:
            request = request.with_body(json.dumps(told, ensure_ascii=False).encode())
        answer, _ = await self._answer(request, deadline)
        return check_created(self._transport.content(answer))["id"]

    async def update_session(self, named: Mapping[str, str], told: bytes, deadline: Deadline) -> None:
        """Change the description of a session.

        Sends ``PATCH /sessions/{id}`` or ``PATCH /sessions?reference_id=...``. This coroutine awaits only
        waits.

        Args:
            named: its ``session_id`` or its ``session_reference_id``.
            told: the changed fields, as JSON.
            deadline: when the answer has to be complete.
        """
        if "session_id" in named:
            request = self._session_request("PATCH", named["session_id"])
        else:
            query = {"reference_id": named["session_reference_id"]}
            request = self._transport.prepare("PATCH", "/sessions", query)
        request.prepared.headers["Prefer"] = "return=minimal"
        answer, _ = await self._answer(request.with_body(told), deadline)
        if answer.content:  # a page, such as a proxy's log-in page, has changed nothing
            self._transport.content(answer)

    async def send_logs(self, method: str, logs: bytes, key: str, deadline: Deadline) -> Mapping[str, str]:
        """Store datapoints (``POST``), or complete some (``PATCH``); this coroutine awaits only waits.

        Args:
            method: ``"POST"`` or ``"PATCH"``.
            logs: a list of datapoints, as JSON.
            key: the idempotency key.
            deadline: when the answer has to be complete.

        Returns:
            The headers of the answer. Their names are in lower case or case-insensitive.
        """
        request = self._log_requests[method].with_body(logs)
        answer, _ = await self._answer(request, deadline, key=key)
        if answer.content:  # a page, such as a proxy's log-in page, has stored nothing
            self._transport.content(answer)
        return answer.headers

    async def acreate(self, **options: Unpack[CallOptions]) -> Response[CreatedSession]:
        """Create a session like :meth:`create`, without blocking the event loop."""
        options = self._with_deadline(options)
        if self._has_own_way_to_create():
            return await self._workers.run(self.create, **options)
        return await self._on_loop(partial(self._exchange, self._create_request, check_created, **options))

    def get(self, id: str, **options: Unpack[CallOptions]) -> Response[SessionRecord]:  # noqa: A002
        """Look up one session (``GET /sessions/{id}``).

        Raises:
            TypeError: ``id`` is not a string.
            ValueError: ``id`` is empty, ``.`` or ``..``.
        """
        return run_blocking(self._get(id, **options))

    async def aget(self, id: str, **options: Unpack[CallOptions]) -> Response[SessionRecord]:  # noqa: A002
        """Look up one session like :meth:`get`, without blocking the event loop."""
        return await self._on_loop(partial(self._get, id, **self._with_deadline(options)))

    def list(
        self, project_id: str, *, page: int = 1, size: int = 10, **options: Unpack[CallOptions]
    ) -> Response[SessionPage]:
        """Look up a page of the sessions that hold a datapoint of a project, newest first.

        Raises:
            TypeError: ``project_id`` is not a string, ``page`` or ``size`` is not an integer.
            ValueError: ``project_id`` is empty, ``page`` or ``size`` is below 1.
        """
        return run_blocking(self._list(project_id, page=page, size=size, **options))

    async def alist(
        self, project_id: str, *, page: int = 1, size: int = 10, **options: Unpack[CallOptions]
    ) -> Response[SessionPage]:
        """Look up a page like :meth:`list`, without blocking the event loop."""
        options = self._with_deadline(options)
        return await self._on_loop(partial(self._list, project_id, page=page, size=size, **options))

    def iter(
        self, project_id: str, *, size: int = 100, **options: Unpack[CallOptions]
    ) -> Iterator[SessionRecord]:
        """Yield the sessions of all pages, newest first; each page is looked up when it is needed.

        New sessions push others on to the next page; each session is yielded once.

        Args:
            project_id: as for :meth:`list`; so are the options and the errors.
            size: the number of sessions on a page.
        """
        pages = _Pages()
        while pages.next:
            yield from pages.new(self.list(project_id, page=pages.next, size=size, **options).body)

    async def aiter(
        self, project_id: str, *, size: int = 100, **options: Unpack[CallOptions]
    ) -> AsyncIterator[SessionRecord]:
        """Yield the sessions like :meth:`iter`, without blocking the event loop."""
        pages = _Pages()
        while pages.next:
            answer = await self.alist(project_id, page=pages.next, size=size, **options)
            for record in pages.new(answer.body):
                yield record

    async def _get(self, id: str, **options: Unpack[CallOptions]) -> Response[SessionRecord]:  # noqa: A002
        return await self._exchange(self._session_request("GET", id), check_record, **options)

    def _session_request(self, method: str, session_id: str) -> Request:
        request = self._transport.prepare(method, "/sessions")
        # Set directly: ``requests`` would remove the escapes of dots, and ".." changes the path.
        request.prepared.url = f"{request.prepared.url}/{_path_segment('id', session_id)}"
        return request

    async def _list(
        self, project_id: str, *, page: int, size: int, **options: Unpack[CallOptions]
    ) -> Response[SessionPage]:
        query: dict[str, str | int] = {
            "project_id": _checked_text("project_id", project_id),
            "page": _checked_positive("page", page),
            "size": _checked_positive("size", size),
        }
        request = self._transport.prepare("GET", "/sessions", query)
        return await self._exchange(request, check_page, **options)

    async def _exchange(
        self,
        request: Request,
        check: Callable[[Any], Body],
        *,
        timeout: float | tuple[float, float] | Deadline | None = None,
        stream: bool = False,
        skip_deserialization: bool = False,
        accept_content_types: Sequence[str] = (),
    ) -> Response[Body]:
        deadline = self._deadline(timeout)
        if accept_content_types:
            request = request.accepting(_accepted(accept_content_types))
        is_read = not (stream and skip_deserialization)
        answer, seconds = await self._answer(request, deadline, is_read=is_read)
        response = self._transport.as_response(answer, request)
        if skip_deserialization:
            unset: Any = None
            return Response(unset, unset, response.status_code, seconds, response)
        body = check(self._transport.content(answer))
        return Response(body, response.headers, response.status_code, seconds, response)

    async def _answer(
        self, request: Request, deadline: Deadline, *, is_read: bool = True, key: str = ""
    ) -> tuple[Answer, float]:
        """Return a successful answer, and the seconds that it took."""
        started = time.perf_counter()
        answer = await self._transport.exchange(request, deadline, is_read=is_read, key=key)
        seconds = time.perf_counter() - started
        if not is_success(answer):
            raise self._transport.status_error(answer, seconds)
        return answer, seconds

    def _has_own_way_to_create(self) -> bool:
        """Whether a subclass or a test double has replaced ``create``."""
        return getattr(self.create, "__func__", None) is not SessionsClient.create

    async def _on_loop(self, call: Callable[[], Coroutine[Wait[Any], Any, Result]]) -> Result:
        loop = current_loop()
        if loop is None:
            return await self._workers.run(lambda: run_blocking(call()))
        await loop.turn()
        outcome: Outcome[Result] = Outcome()
        run = Run(_settled(outcome, call), loop, self._workers)
        try:
            await outcome.wait_in_task()
        finally:
            run.cancel()
        return outcome.get()

    def _with_deadline(self, options: CallOptions) -> CallOptions:
        """Return the options with a deadline that begins now, so that it covers the wait for a thread."""
        return {**options, "timeout": self._deadline(options.get("timeout"))}

    def _deadline(self, timeout: float | tuple[float, float] | Deadline | None) -> Deadline:
        if isinstance(timeout, Deadline):
            return timeout
        if not isinstance(timeout, tuple):
            return Deadline(checked_seconds("timeout", self.timeout if timeout is None else timeout))
        if len(timeout) != 2:  # noqa: PLR2004 - a pair
            raise ConfigurationError(f"timeout={timeout!r} must be a number or a pair of numbers of seconds")
        connect, rest = (checked_seconds("timeout", part) for part in timeout)
        return Deadline(connect + rest, connect, rest)


async def _settled(outcome: Outcome[Result], call: Callable[[], Coroutine[Wait[Any], Any, Result]]) -> None:
    try:
        outcome.set(await call())
    except Exception as error:  # noqa: BLE001 - passed to the caller, which waits for the outcome
        outcome.set_error(error)


class _Pages:
    """The pages of a list that grows at its beginning."""

    def __init__(self) -> None:
        #: The number of the page to look up; 0: there are no more pages.
        self.next = 1
        self._seen: set[str] = set()

    def new(self, page: SessionPage) -> list[SessionRecord]:
        """Return the records that were on no page before."""
        records = [record for record in page["records"] if record["id"] not in self._seen]
        self._seen.update(record["id"] for record in records)
        is_last = not page["records"] or self.next * page["size"] >= page["total"]
        self.next = 0 if is_last else self.next + 1
        return records


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
    if text in {".", ".."}:  # proxies resolve them as path segments, even if they are escaped
        raise ValueError(f"{name}={text!r} is no ID")
    return quote(text, safe="", errors="surrogatepass").replace(".", "%2E")
