"""The sessions API in memory, for the tests of applications."""

from __future__ import annotations

import json
import sys
import sysconfig
import threading
import time
import uuid
from collections import defaultdict, deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from traceback import walk_stack
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from hl_sessions import manager as managers
from hl_sessions.availability.circuit_breaker import CircuitBreaker
from hl_sessions.availability.ready_sessions import ReadySessions
from hl_sessions.client.transport import Transport
from hl_sessions.datapoints import sender
from hl_sessions.datapoints.queue import Queue
from hl_sessions.defaults import _default, default_manager
from hl_sessions.errors import APIConnectionError
from hl_sessions.manager import SessionManager
from hl_sessions.process import ending, thread_on_demand
from hl_sessions.process.reentry import is_creating
from hl_sessions.sessions.session import Session, _ReadySession
from hl_sessions.stores.base import ConversationStore
from hl_sessions.testing.logged_datapoint import LoggedDatapoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    from typing_extensions import Self

    from hl_sessions.client.transport import Request

__all__ = ["Created", "CreatedSession", "FakeSessions"]

PATIENCE = 5.0  # seconds until datapoints that cannot be sent are left waiting, as after an outage
_SHOWN = frozenset({"name", "user", "metadata"})
PAUSE = 0.01  # seconds between attempts to send it
BASE_URL = "http://sessions.test/v4"  # a name that no network knows
_STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"]
_INSTALLED = frozenset({"site-packages", "dist-packages"})  # the folders of other libraries


@dataclass(frozen=True)
class CreatedSession:
    """A session that was created in a test.

    Attributes:
        id: its ID.
        key: the conversation key of its scope.
        read_in: the file and line of the application that read the ID first, or called the library that did;
            ``None``: it was created for a datapoint.
        datapoints: its datapoints, in order.
        name: its name from ``session.set()`` or ``session_fields=``; ``None``: it was given none.
        user: its user from there.
        metadata: its metadata from there.
    """

    id: str
    key: str | None
    read_in: str | None
    datapoints: list[LoggedDatapoint]
    name: str | None = None
    user: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        of = "" if self.key is None else f" of the conversation {self.key!r}"
        how = "created for what was logged" if self.read_in is None else f"first read in {self.read_in}"
        return f"{self.id}{of}, {how}"


class Created(int):
    """The number of created sessions; a failed assertion about it lists them.

    Attributes:
        sessions: the sessions.
    """

    sessions: list[CreatedSession]

    def __new__(cls, sessions: list[CreatedSession]) -> Self:
        """Count sessions."""
        self = super().__new__(cls, len(sessions))
        self.sessions = sessions
        return self

    def __getnewargs__(self) -> Any:
        """Return the arguments for copies and pickles."""
        return (self.sessions,)


class _Answer(NamedTuple):
    status_code: int
    reason: str
    headers: Mapping[str, str]
    content: bytes


class FakeSessions:
    """The sessions API in memory. Within its ``with`` block no manager of the process uses the network.

    Datapoints are sent when the test reads :attr:`datapoints` or :attr:`sessions`, in the thread of the test.
    Unsent datapoints from before the block are dropped. Sessions are not prefetched. No conversation from
    before the block goes on, with any store.

    Within the block there is a new default manager. It has the ``project``, ``idle_timeout``, ``on_error``,
    ``redact``, ``on_created`` and ``session_fields`` of the former one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._directory = Path.cwd()
        self._ids = 0
        self._sessions: list[tuple[str, str | None, str | None]] = []
        self._told: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        self._datapoints: list[LoggedDatapoint] = []
        self._by_reference_id: dict[str, LoggedDatapoint] = {}
        self._is_failing = False
        self._status: HTTPStatus | None = None
        # Sessions that were created for a datapoint, for which on_created is not called yet.
        self._untold: deque[Session] = deque()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(patch.object(Transport, "exchange", self._exchange_for()))
            stack.enter_context(patch.object(thread_on_demand, "start_thread", _no_thread))
            # Ready sessions are those of the real API; threads that run already must not create more.
            stack.enter_context(patch.object(ReadySessions, "take", lambda *_: None))
            stack.enter_context(patch.object(ReadySessions, "_missing", lambda _: 0))
            stack.enter_context(patch.object(_ReadySession, "id", Session.id))
            # At once: a session that a span creates would be counted a moment later.
            stack.enter_context(patch.object(Session, "_carry_out_in_thread", Session._carry_out))
            stack.enter_context(patch.object(SessionManager, "on_created", staticmethod(_ignore)))
            stack.enter_context(patch.object(Session, "_tell_created", self._tell_for()))
            stack.enter_context(patch.object(ConversationStore, "entry_key", _own_entry_key()))
            stack.enter_context(patch.object(managers, "_make_queue", _own_queue()))
            # The queue has room for all datapoints of the test, as none is sent until the test reads them.
            stack.enter_context(patch.object(Queue, "_make_room", lambda _: None))
            manager = stack.enter_context(_manager_like(_default.manager))
            stack.enter_context(patch.object(_default, "manager", manager))
            stack.callback(self._leave)
            self._stack = stack.pop_all()
        _drop_waiting()
        _end_outages()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def manager(self) -> SessionManager:
        """The default manager of this test, or the one that the test has configured."""
        return default_manager()

    @property
    def created(self) -> Created:
        """The number of sessions that were created, for a reader of the ID or for a datapoint."""
        return Created(self.sessions)

    @property
    def sessions(self) -> list[CreatedSession]:
        """The sessions that were created, in order."""
        self._flush()
        with self._lock:
            return [
                CreatedSession(
                    *session,
                    [datapoint for datapoint in self._datapoints if datapoint.session_id == session[0]],
                    **{name: told for name, told in self._told[session[0]].items() if name in _SHOWN},
                )
                for session in self._sessions
            ]

    @property
    def datapoints(self) -> list[LoggedDatapoint]:
        """The datapoints, in order; a datapoint comes before those that are nested under it."""
        self._flush()
        with self._lock:
            return self._datapoints.copy()

    @contextmanager
    def failing(self, status: int | None = None) -> Iterator[None]:
        """Let each call of the API fail, within a ``with`` block. Datapoints wait until its end.

        Args:
            status: the HTTP status of each answer; ``None``: no answer, as if no server listened.
        """
        self._flush()
        before = self._is_failing, self._status
        self._is_failing, self._status = True, None if status is None else HTTPStatus(status)
        try:
            yield
        finally:
            self._is_failing, self._status = before
            _end_outages()

    def _leave(self) -> None:
        self._flush()
        _drop_waiting()  # datapoints that no test reads, and that must not be sent elsewhere
        if _default.manager is not None:
            _default.manager.close()

    def _flush(self) -> None:
        self._send()
        while self._untold:
            session = self._untold.popleft()
            session.manager.tell_created(session)
            self._send()

    def _send(self) -> None:
        end = time.monotonic() + PATIENCE
        for each in [] if self._is_failing else sender.senders():
            while (flush := each.begin_flush()) is not None and not flush.wait(PAUSE):
                if time.monotonic() > end:
                    break

    def _exchange_for(self) -> Callable[..., Any]:
        async def exchange(transport: Transport, request: Request, *_: object, **__: object) -> _Answer:
            if transport._closed:
                raise APIConnectionError("the client is closed; make a new one")
            if self._is_failing and self._status is None:
                raise APIConnectionError("the fake sessions API is failing")
            return self._answer(request)

        return exchange

    def _answer(self, request: Request) -> _Answer:
        if self._is_failing and self._status is not None:
            return _answer(self._status)
        method, url = request.prepared.method, request.prepared.url or ""
        call = method, url.rpartition("/")[2]
        with self._lock:
            if call == ("POST", "sessions"):
                self._ids += 1
                session_id = f"sesh_test{self._ids:018}"
                self._told[session_id].update(json.loads(request.body or "{}"))
                return _answer(HTTPStatus.CREATED, {"id": session_id})
            if method == "PATCH" and call[1] != "logs":
                self._told[call[1]].update(json.loads(request.body))
                return _answer(HTTPStatus.OK)
            if call == ("POST", "logs"):
                for fields in json.loads(request.body):
                    self._add(fields)
                return _answer(HTTPStatus.OK, [])
            if call == ("PATCH", "logs"):
                for fields in json.loads(request.body):
                    self._complete(fields)
                return _answer(HTTPStatus.OK, [])
        raise NotImplementedError(
            f"the fake sessions API creates sessions and takes datapoints: {method} {url}"
        )

    def _add(self, fields: dict[str, Any]) -> None:
        parent = self._by_reference_id.get(fields.get("parent_reference_id", ""))
        datapoint = LoggedDatapoint(fields, parent)
        if parent is not None:
            parent.children.append(datapoint)
        self._datapoints.append(datapoint)
        self._by_reference_id[fields["reference_id"]] = datapoint

    def _complete(self, fields: dict[str, Any]) -> None:
        datapoint = self._by_reference_id.get(fields["reference_id"])
        if datapoint is not None:  # None: the datapoint began before the test
            datapoint.fields.update(fields)

    def _tell_for(self) -> Callable[..., None]:
        tell = Session._tell_created

        def tell_created(session: Session, **_: object) -> None:
            told = session.peek() or "", session.key, self._reader()
            with self._lock:
                self._sessions.append(told)
            if "on_created" not in vars(session.manager):
                return
            if is_creating():  # created for a datapoint: called later, in the test's thread
                self._untold.append(session)
            else:
                tell(session)

        return tell_created

    def _reader(self) -> str | None:
        """Return the file and line that reads an ID, ``None`` if the session is created for a datapoint.

        If a library reads it, such as an HTTP client, they are those of the code that has called the library.
        """
        if is_creating():
            return None
        frames = (frame for frame, _ in walk_stack(sys._getframe()) if not _is_of_package(frame))
        first = next(frames)
        reader = next(filter(_is_of_application, chain([first], frames)), first)
        path = Path(reader.f_code.co_filename)
        if path.is_relative_to(self._directory):
            path = path.relative_to(self._directory)
        return f"{path}:{reader.f_lineno}"


def _is_of_application(frame: FrameType) -> bool:
    # Not by the current folder: it may be that of the tests, with the application beside it.
    path = Path(frame.f_code.co_filename)
    is_installed = path.is_relative_to(_STANDARD_LIBRARY) or not _INSTALLED.isdisjoint(path.parts)
    return path.is_absolute() and not is_installed


def _is_of_package(frame: FrameType) -> bool:
    name: str = frame.f_globals.get("__name__", "")
    return name.startswith("hl_sessions.")


def _manager_like(manager: SessionManager | None) -> SessionManager:
    if manager is None:
        return SessionManager(BASE_URL, "test")
    return SessionManager(
        BASE_URL,
        "test",
        project=manager.recorder._project,
        redact=manager.recorder._redact,
        idle_timeout=manager.conversations._idle_timeout,
        on_error="raise" if manager.raises_errors else "warn",
        on_created=vars(manager).get("on_created"),
        session_fields=manager.session_fields,
    )


def _answer(status: HTTPStatus, body: object = None) -> _Answer:
    return _Answer(status, status.phrase, {}, b"" if body is None else json.dumps(body).encode())


def _own_entry_key() -> Callable[..., str]:
    entry_key, test = ConversationStore.entry_key, uuid.uuid4().hex

    def own_entry_key(store: ConversationStore, base_url: str, conversation_key: str) -> str:
        return entry_key(store, f"{base_url}/{test}", conversation_key)

    return own_entry_key


def _own_queue() -> Callable[..., Queue]:
    make_queue = managers._make_queue

    def make_own_queue(*args: Any) -> Queue:
        queue = make_queue(*args)
        queue.drop_all()  # a spool keeps datapoints of other processes, and none of the test
        return queue

    return make_own_queue


def _drop_waiting() -> None:
    for each in sender.senders():
        each._queue.drop_all()
        each._queue.take_dropped()  # else a warning would tell a later test of them


def _end_outages() -> None:
    """Let all managers call the API again at once, though it has failed."""
    for endable in tuple(ending._endables):
        if isinstance(endable, CircuitBreaker):
            endable._succeeded(is_trial=True)


def _ignore(_: Session) -> None:
    """Do nothing: an ``on_created`` that makes every manager report its created sessions."""


def _no_thread(*_: object) -> None:
    """Start no thread, like a system that can start none."""
