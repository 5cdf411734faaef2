"""The recorder: copies the fields of a datapoint on the thread of the caller, and queues them."""

from __future__ import annotations

import itertools
import json
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from hl_sessions.datapoints.fields import check, is_of_named_session
from hl_sessions.datapoints.fixed import fix, fixed_fields
from hl_sessions.datapoints.queue import OVERHEAD, Entry
from hl_sessions.datapoints.session_fields import read_session_fields
from hl_sessions.datapoints.values import freeze, snapshot
from hl_sessions.errors import ConfigurationError
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.interruptions import is_interruption
from hl_sessions.process.reentry import is_creating
from hl_sessions.process.saying import say
from hl_sessions.process.seldom import Seldom
from hl_sessions.sessions.context import along
from hl_sessions.sessions.current import current_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hl_sessions.datapoints.queue import Queue
    from hl_sessions.datapoints.sender import Sender
    from hl_sessions.process.outcome import Outcome
    from hl_sessions.sessions.session import Session

    Redact = Callable[[dict[str, Any]], dict[str, Any] | None]

__all__ = ["Parent", "Recorder", "Redact", "open_datapoint"]

_TOLD: Final = "the description of a session"


class Parent(Protocol):
    """An open datapoint, under which others are nested."""

    _recorder: Recorder
    _session: Session | None
    _reference_id: str
    _root: str
    _is_open: bool
    _outer: Parent | None


def open_datapoint(session: Session | None) -> Parent | None:
    """Return the innermost datapoint of a session that is open here, ``None`` if there is none."""
    parent: Parent | None = along.get()
    while parent is not None and not (parent._is_open and parent._session is session):
        parent = parent._outer
    return parent


class Recorder:
    """Takes the datapoints of one manager.

    Args:
        manager: the manager of their sessions.
        queue: the queue for them.
        sender: sends the queue; it is told of new entries.
        project: the name of the project, for datapoints that name none.
        redact: called with the fields of a datapoint, as JSON has them. It returns the fields to keep, or
            ``None`` to drop the datapoint.
        raises_errors: whether a datapoint without a project raises an error.
    """

    def __init__(
        self,
        manager: object,
        queue: Queue,
        sender: Sender,
        *,
        project: str | None,
        redact: Redact | None,
        raises_errors: bool,
    ) -> None:
        self._manager = manager
        self._queue = queue
        self._sender = sender
        self._project = project
        self._redact = redact
        self._has_redacted = False
        self._raises_errors = raises_errors
        self._warnings = Seldom()
        self._is_silent = False
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        # A reference ID is a part that no other process has, and a number.
        self.first_part = f"log_{secrets.token_hex(8)}_"
        self._numbers = itertools.count(1)

    def log(self, fields: dict[str, Any]) -> str:
        """Take a complete datapoint, and return its reference ID."""
        names_session = is_of_named_session(fields)
        session = self.session(is_needed=not names_session)
        parent = self.parent(session)
        reference_id = self.complete(fields, session, parent)
        fixed = self.fix(fields, is_new=True)
        if fixed is not None and self._can_put(OVERHEAD + len(fixed)):
            root = parent._root if parent else reference_id
            if names_session:
                session, root = self.owner(session, root, fixed)
            self._queue.put_complete(session, reference_id, root, fixed, self._owns(reference_id))
            self._note_put(session)
        return reference_id

    def session_fields(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the description of a session, as JSON has it, after ``redact=``.

        Raises:
            TypeError: a field is of the wrong type, or unknown.
            ValueError: a field is too long.
        """
        fields: dict[str, Any] | None = read_session_fields(given)
        if fields and self._redact is not None:
            fields = self._redacted(self._redact, fields, _TOLD)
        if not fields:
            return {}
        taken = snapshot(fields)
        body, problems = freeze(taken.fields)
        self.warn_of(taken.problems + problems, _TOLD)
        kept: dict[str, Any] = json.loads(body)
        return kept

    def tell(self, session: Session, fields: Mapping[str, Any], version: int) -> None:
        """Queue a description of a session; ``version`` is that of :class:`Told`."""
        fixed, _ = fix(dict(fields))
        entry = Entry(session, "", "", fixed)
        entry.version = version
        self.put(entry, _TOLD)
        if is_creating():  # the sending of a datapoint has led to it
            self._sender.extend_flushes()

    def tell_of(self, session_id: str, fields: Mapping[str, Any]) -> None:
        """Queue a description of the session with this ID."""
        fixed, _ = fix({**fields, "session_id": session_id})
        self.put(Entry(None, "", session_id, fixed), _TOLD)

    def session(self, *, is_needed: bool) -> Session | None:
        """Return the current session of the manager, ``None`` if there is none.

        Args:
            is_needed: whether it has to be created: the datapoint does not name another one.
        """
        session = current = current_session()
        while session is not None and session.manager is not self._manager:
            session = session._outer
        if is_needed and session is None and current is not None:
            self.warn(
                "a datapoint is logged without a session, as the current one is of another manager:"
                " log with that one, or open the session with this one, such as by manager= of the middleware"
            )
        # Without an ID by now, the session is created when the datapoint is sent.
        if is_needed and session is not None and session._id is None and session._ready_id() is None:
            session._note_log()
        return session

    def owner(self, session: Session | None, root: str, fixed: bytes) -> tuple[Session | None, str]:
        """Return the session and the root of the entry of a new datapoint whose fields name a session.

        They are ``None`` and that name, which decides about the sample, too.
        """
        given = check(fixed_fields([fixed])).fields  # a name of a wrong type is left out
        named = given.get("session_id") or given.get("session_reference_id")
        return (None, named) if named else (session, root)

    def parent(self, session: Session | None) -> Parent | None:
        """Return the innermost datapoint of a session that is open here, ``None`` if there is none."""
        parent = open_datapoint(session)
        # Outside of every session, the open datapoint may be that of another manager.
        return parent if parent is not None and parent._recorder is self else None

    def complete(self, fields: dict[str, Any], session: Session | None, parent: Parent | None) -> str:
        """Add the fields that every datapoint has to a new one; return its reference ID."""
        get = fields.get
        given = self._given_reference_id(fields) if "reference_id" in fields else None
        reference_id = fields["reference_id"] = given or f"{self.first_part}{next(self._numbers):x}"
        if self._project is not None and get("project") is None and get("project_id") is None:
            fields["project"] = self._project
        if parent is not None:
            nested_under: str | None = parent._reference_id
        else:
            nested_under = None if session is None else session._nested_under
        if nested_under is not None and get("parent_id") is None and get("parent_reference_id") is None:
            fields["parent_reference_id"] = nested_under
        if get("created_at") is None:
            fields["created_at"] = time.time()
        return reference_id

    def _given_reference_id(self, fields: dict[str, Any]) -> str | None:
        # In the form in which it is sent, as nested and completing datapoints must name the same one.
        checked = check({"reference_id": fields["reference_id"]})
        frozen = freeze(checked.fields)
        self.warn_of(checked.problems + frozen.problems)
        given: str | None = json.loads(frozen.body).get("reference_id")
        return given

    def entry(self, session: Session | None, reference_id: str, root: str, fixed: bytes) -> Entry:
        """Return the entry of a new datapoint."""
        return Entry(session, reference_id, root, fixed, owns_reference_id=self._owns(reference_id))

    def _owns(self, reference_id: str) -> bool:
        return reference_id.startswith(self.first_part)

    def fix(self, fields: dict[str, Any], *, is_new: bool) -> bytes | None:
        """Return a copy of the fields as they are now; ``None``: they are dropped.

        Args:
            fields: the fields of the application.
            is_new: whether they are those of a new datapoint, or only those that complete one.
        """
        if is_new and _is_empty(fields.get("project")) and _is_empty(fields.get("project_id")):
            self._miss_project()
            return None
        if self._redact is not None:
            what = "a datapoint" if is_new else "the end of a datapoint"
            redacted = self._redacted(self._redact, fields, what)
            if redacted is None:
                return None
            if is_new:  # needed to complete the datapoint, and to nest others under it
                redacted["reference_id"] = fields["reference_id"]
            fields = redacted
        fixed, problems = fix(fields)
        if problems:
            self.warn_of(problems)
        return fixed

    def fix_end(self, fields: dict[str, Any], entry: Entry) -> bytes | None:
        """Return a copy of the fields that complete an open datapoint; ``None``: they are dropped."""
        fixed = self.fix(fields, is_new=False)
        if fixed is None or not self._is_within_limit(entry.size + len(fixed), "the end of a datapoint"):
            return None
        return fixed

    def warn_of(self, problems: Iterable[str], what: str = "a datapoint") -> None:
        """Log a warning for each problem with a value of a datapoint, or of ``what`` else."""
        for problem in problems:
            self.warn(f"{what} is logged without a value that cannot be kept: {problem}")

    def put(self, entry: Entry, what: str = "a datapoint") -> None:
        """Queue an entry; ``what`` names it in the warning if that is impossible."""
        if self._can_put(entry.size, what):
            self._queue.put(entry)
            self._note_put(entry.session)

    def _can_put(self, size: int, what: str = "a datapoint") -> bool:
        if self._sender.is_closed:
            self.warn(f"{what} is not logged, as its manager is closed")
            return False
        return self._is_within_limit(size, what)

    def _note_put(self, session: Session | None) -> None:
        if session is not None:
            session._tell()  # a description that waited for a session, behind its first datapoint
        self._sender.notice()

    def end(self, entry: Entry, fixed: bytes | None) -> bool:
        """End the datapoint of an entry, and add fields if it still waits; return whether it does."""
        return self._queue.end(entry, fixed)

    def hurry(self) -> Outcome[None] | None:
        """Send the queue now; return the outcome to wait for, ``None`` if there is nothing to wait for."""
        return None if self._sender.is_held_up else self._sender.begin_flush()

    def _is_within_limit(self, size: int, what: str = "a datapoint") -> bool:
        if size > self._queue.limit:
            self.warn(f"{what} of {size} bytes is not logged: queue_size is {self._queue.limit}")
        return size <= self._queue.limit

    def fall_silent(self) -> None:
        """Log no warning any more."""
        self._is_silent = True

    def warn(self, message: str) -> None:
        """Log a warning, the same one at most once a minute."""
        if not self._is_silent and self._warnings.is_due(message):
            say(logging.WARNING, "%s", message)

    def _miss_project(self) -> None:
        hint = (
            "a datapoint needs a project: log(project=...),"
            " or for all configure(project=...) or SessionManager(project=...)"
        )
        if self._raises_errors:
            raise ConfigurationError(hint)
        self.warn(f"a datapoint is not logged: {hint}")

    def _redacted(self, redact: Redact, fields: dict[str, Any], what: str) -> dict[str, Any] | None:
        # A separate copy, with JSON types only.
        copy = json.loads(freeze(check(fields).fields).body)
        try:
            kept = redact(copy)
        except Exception as error:
            if is_interruption(error):
                raise
            # Without its message, which may hold redacted values.
            self.warn(f"{what} is not logged, as redact= raised: {type(error).__name__}")
            return None
        if kept is not None and not isinstance(kept, dict):
            self.warn(f"{what} is not logged, as redact= returned {type(kept).__name__}, not a dict")
            return None
        if kept is None and not self._has_redacted:  # the function may lack a return
            self.warn(
                f"{what} is not logged, as redact= returned None; it returns the fields to keep"
                " (told of the first call only)"
            )
        self._has_redacted = True
        return kept


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value)  # an array has no truth value
