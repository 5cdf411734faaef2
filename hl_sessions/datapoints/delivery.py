"""The delivery: sends batches of datapoints to the API, and handles its answers."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from zlib import crc32

from hl_sessions.client.deadline import Deadline
from hl_sessions.datapoints.fields import NAMES_OF_A_SESSION, changes, check, meant_field
from hl_sessions.datapoints.fixed import fix, fixed_fields
from hl_sessions.datapoints.values import freeze
from hl_sessions.errors import APIStatusError, HLSessionsError, NotFoundError, ValidationError
from hl_sessions.process.saying import show
from hl_sessions.process.seldom import Seldom
from hl_sessions.process.together import run_together
from hl_sessions.process.turns import Turns
from hl_sessions.process.waits import run_blocking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hl_sessions.availability.reports import Reports
    from hl_sessions.datapoints.queue import Entry, Queue
    from hl_sessions.sessions.session import Session

__all__ = ["Delivery", "LogClient"]

SESSIONS_AT_ONCE = 32  # sessions that are created side by side
SHORTEST_TIMEOUT = 10.0  # seconds for a batch, which may be long
PARENT_PAUSE = 0.3  # seconds for another process to send the datapoint that it has open
MOST_FAILURES = 3  # in a row, of a batch with one datapoint
MOST_SHOWN = 200  # characters of a text of the API
BAD_REQUEST = 400
TOO_LARGE = 413
FAILED = 500
#: Including those of an API without this call.
_REFUSALS_OF_TOLD = frozenset({BAD_REQUEST, 404, 405, TOO_LARGE, 415, 422, 501})


class LogClient(Protocol):
    """Sends datapoints, and descriptions of sessions."""

    timeout: float

    async def send_logs(self, method: str, logs: bytes, key: str, deadline: Deadline) -> Mapping[str, str]:
        """Store (``POST``) or complete (``PATCH``) a JSON list of datapoints; return the headers."""

    async def update_session(self, named: Mapping[str, str], told: bytes, deadline: Deadline) -> None:
        """Change the description of a session, named by ``session_id`` or ``session_reference_id``."""


class _Refusal(NamedTuple):
    """The API's reason to refuse one datapoint of a batch."""

    place: int
    field: str
    reason: str


class Delivery:
    """Sends the entries of a queue, and settles them or gives them back.

    Args:
        queue: the queue.
        client: sends them.
        sample: the share of sessions to keep, from 0 to 1.
        reports: takes the warnings about refused entries.
    """

    def __init__(self, queue: Queue, client: LogClient, sample: float, reports: Reports) -> None:
        self._queue = queue
        self._client = client
        self._sample = sample
        self._reports = reports
        self._warnings = Seldom()
        self._failures = 0  # in a row, of a batch with one datapoint
        #: The entries that were taken from the queue, and are not settled.
        self._open: dict[Entry, None] = {}
        #: The deadlines of the calls that are under way.
        self._deadlines: set[Deadline] = set()

    def deliver(self, batch: Sequence[Entry]) -> Exception | None:
        """Send a batch; return the error if some entries were not taken, which then wait again."""
        self._open = dict.fromkeys(batch)
        try:
            return self._deliver(batch)
        except Exception as error:  # noqa: BLE001 - no descriptors are left, or there is a bug of ours
            show(error)
            self._drop_poison(batch, f"{type(error).__name__} was raised")
            return error
        finally:
            self._queue.give_back(list(self._open))

    def _deliver(self, batch: Sequence[Entry]) -> HLSessionsError | None:
        params, failure = self._find_sessions(batch)
        self._queue.save()  # with the sessions to which the entries are sent
        sent = [entry for entry in batch if entry.session is None or entry.session in params]
        if self._sample < 1:
            self._settle([entry for entry in sent if not self._is_sampled(entry, params)])
            sent = [entry for entry in sent if entry in self._open]
        told = [entry for entry in sent if entry.is_of_session]
        new = [entry for entry in sent if not (entry.is_completion or entry.is_of_session)]
        error = (
            self._send_all("POST", new, params)
            or self._send_all("PATCH", self._completions(sent), params)
            or self._tell(told, params)
        )
        return error or failure

    def _completions(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the completions, and with them what has turned out to be stored already."""
        return [entry for entry in entries if entry.is_completion and entry in self._open]

    def _settle(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            del self._open[entry]
        self._queue.settle(entries)

    def abort(self) -> None:
        """Give up the calls that are under way."""
        for deadline in self._deadlines.copy():
            deadline.abort()

    @contextmanager
    def _deadline(self) -> Iterator[Deadline]:
        deadline = Deadline(max(self._client.timeout, SHORTEST_TIMEOUT))
        self._deadlines.add(deadline)
        try:
            yield deadline
        finally:
            self._deadlines.discard(deadline)

    def _find_sessions(
        self, batch: Sequence[Entry]
    ) -> tuple[Mapping[Session | None, dict[str, str]], HLSessionsError | None]:
        """Return the fields that name each session that exists or could be created, and the first failure.

        No session is created for a description alone.
        """
        found: dict[Session | None, dict[str, str]] = {}
        failures: list[HLSessionsError] = []
        logged = {entry.session for entry in batch if not entry.is_of_session}

        async def find(session: Session) -> None:
            try:
                if session in logged:
                    found[session] = await session.obtain_log_params()
                elif params := await session._find_log_params():
                    found[session] = params
                else:
                    self._hand_back(session, [entry for entry in batch if entry.session is session])
            except HLSessionsError as error:
                failures.append(error)

        sessions = dict.fromkeys(entry.session for entry in batch)
        run_together((find(session) for session in sessions if session is not None), SESSIONS_AT_ONCE)
        return found, failures[0] if failures else None

    def _hand_back(self, session: Session, told: Sequence[Entry]) -> None:
        """Give the description of a session that does not exist back to its handle."""
        fields = fixed_fields(part for entry in told if entry.version for part in entry.parts)
        self._settle(told)
        if fields:
            session._take_back(fields)

    def _is_sampled(self, entry: Entry, params: Mapping[Session | None, dict[str, str]]) -> bool:
        # By the ID of the session, which all processes know; without one, by that of the outermost datapoint.
        name = entry.root if entry.session is None else "".join(params[entry.session].values())
        return crc32(name.encode()) < self._sample * 2**32

    def _send_all(
        self, method: str, entries: Sequence[Entry], params: Mapping[Session | None, dict[str, str]]
    ) -> HLSessionsError | None:
        """Send entries except the refused ones; return the error if some have to wait."""
        groups = deque([entries] if entries else [])
        while groups:
            group = groups.popleft()
            try:
                self._send(method, group, params)
            except APIStatusError as error:
                is_refusal = isinstance(error, (ValidationError, NotFoundError))
                if is_refusal or error.status in {BAD_REQUEST, TOO_LARGE}:
                    smaller = self._take_apart(group, error)
                    if smaller is not None:
                        groups.extendleft(reversed(smaller))
                        continue
                if error.status == FAILED:
                    self._drop_poison(group, f"HTTP status {error.status}")
                return error
            except HLSessionsError as error:
                for entry in group:
                    entry.may_be_stored = True
                return error
            self._failures = 0
            self._settle(group)
        return None

    def _send(
        self, method: str, entries: Sequence[Entry], params: Mapping[Session | None, dict[str, str]]
    ) -> None:
        logs, turns = [], Turns()
        for entry in entries:
            logs.append(self._json(entry, {} if entry.session is None else params[entry.session]))
            turns.pause_if_over()
        body = b"[" + b",".join(logs) + b"]"
        # The same key for the same datapoints, so that no two attempts store them twice.
        key = hashlib.sha256(body).hexdigest()[:40]
        with self._deadline() as deadline:
            headers = run_blocking(self._client.send_logs(method, body, key, deadline))
        ignored = headers.get("x-ignored-fields")
        if ignored:
            named = ", ".join(map(_with_hint, _one_line(ignored).split(", ")))
            self._say("the sessions API does not keep these fields of datapoints: %s", named)

    def _tell(
        self, entries: Sequence[Entry], params: Mapping[Session | None, dict[str, str]]
    ) -> HLSessionsError | None:
        """Send descriptions, in one call per session; return the error if some have to wait."""
        groups: dict[tuple[str, str], list[Entry]] = {}
        for entry in entries:
            if entry.session is None:
                given = fixed_fields(entry.parts)
                named = {name: given[name] for name in NAMES_OF_A_SESSION & given.keys()}
            else:
                named = params[entry.session]
            if entry.session is not None and entry.session._was_created_with(entry.version):
                self._settle([entry])
            elif named:
                groups.setdefault(next(iter(named.items())), []).append(entry)
            else:  # the disk has lost its fields
                self._refuse(entry, _Refusal(0, "", "it names no session"))
        failures: list[HLSessionsError] = []

        async def tell(name: tuple[str, str], group: Sequence[Entry]) -> None:
            fields = fixed_fields(part for entry in group for part in entry.parts)
            told = {field: value for field, value in fields.items() if field not in NAMES_OF_A_SESSION}
            try:
                with self._deadline() as deadline:
                    await self._client.update_session(dict([name]), freeze(told).body, deadline)
            except HLSessionsError as error:
                if not (isinstance(error, APIStatusError) and error.status in _REFUSALS_OF_TOLD):
                    failures.append(error)
                    return
                self._say(
                    "the sessions API refuses the description of a session (%s), which is not sent again: %s",
                    ", ".join(told),
                    _reason(error),
                )
            self._failures = 0
            self._settle(group)

        run_together((tell(name, group) for name, group in groups.items()), SESSIONS_AT_ONCE)
        if not failures:
            return None
        if isinstance(failures[0], APIStatusError) and failures[0].status == FAILED:
            self._drop_poison(entries, f"HTTP status {FAILED}")
        return failures[0]

    def _json(self, entry: Entry, params: dict[str, str]) -> bytes:
        fields, wrong = check(fixed_fields(entry.parts))
        if entry.is_completion:
            added = {"reference_id": entry.reference_id}
        else:
            # If the application names a session, that one is used.
            added = {} if NAMES_OF_A_SESSION & fields.keys() else params
        body, problems = freeze({**fields, **added})
        for problem in (*wrong, *problems):
            self._say("a datapoint is logged without a value that cannot be kept: %s", problem)
        return body

    def _say(self, message: str, *arguments: object) -> None:
        """Report a warning, the same one at most once a minute."""
        if self._warnings.is_due((message, *arguments)):
            self._reports.add(logging.WARNING, message, *arguments)

    def _take_apart(self, group: Sequence[Entry], error: APIStatusError) -> Sequence[Sequence[Entry]] | None:
        """Return the groups to send instead of a refused one; ``None``: no datapoint is at fault."""
        refusals = {refusal.place: refusal for refusal in _refusals(error.body, len(group))}
        if (
            not refusals
            and len(group) > 1
            and not (isinstance(error, NotFoundError) and not group[0].is_completion)
        ):
            middle = len(group) // 2
            return [group[:middle], group[middle:]]
        if not refusals:
            if isinstance(error, NotFoundError) and not group[0].is_completion:
                return None
            reason = f"HTTP status {error.status}"
            if error.status == TOO_LARGE:
                reason = f"it is too large, with about {group[0].size} bytes"
            refusals = {0: _Refusal(0, "", reason)}
        late = [place for place, refusal in refusals.items() if _may_wait(group[place], refusal)]
        if late:
            time.sleep(PARENT_PAUSE)
            for entry in group:
                entry.has_waited = True
        rest = []
        for index, entry in enumerate(group):
            refusal = refusals.get(index)
            if refusal is None or index in late or self._is_mended(entry, refusal):
                rest.append(entry)
            elif entry.owns_reference_id and refusal.field == "reference_id" and not entry.is_completion:
                self._complete(entry)
            else:
                self._refuse(entry, refusal)
        return [rest] if rest else []

    def _is_mended(self, entry: Entry, refusal: _Refusal) -> bool:
        """Remove a parent that was not stored, as the entry would else be lost; return whether it did."""
        if refusal.field != "parent_reference_id":
            return False
        if fixed_fields(entry.parts).get(refusal.field) is None:
            return False
        entry.parts += (fix({refusal.field: None})[0],)  # its size stays the one that the queue has counted
        return True

    def _complete(self, entry: Entry) -> None:
        """Change a new entry to a completion, as its datapoint was stored, perhaps without its end."""
        fields = fixed_fields(entry.parts)
        fixed, _ = fix({name: fields[name] for name in changes(fields).keys() - {"reference_id"}})
        entry.is_completion = True
        entry.parts = (fixed,)  # its size stays the one that the queue has counted

    def _refuse(self, entry: Entry, refusal: _Refusal) -> None:
        entry.is_refused = True
        self._settle([entry])
        is_whole = not (entry.is_completion or entry.is_open or len(entry.parts) > 1)
        if entry.may_be_stored and is_whole and refusal.field == "reference_id":
            return  # it was probably stored, and the answer lost
        what = "the description of a session" if entry.is_of_session else "a datapoint"
        self._say(
            f"the sessions API refuses {what}, which is not sent again: %s%s",
            f"{refusal.field}: " if refusal.field else "",
            refusal.reason,
        )

    def _drop_poison(self, group: Sequence[Entry], reason: str) -> None:
        """Drop a datapoint that fails again and again, as it keeps all others waiting."""
        if len(group) > 1:
            return
        self._failures += 1
        if self._failures >= MOST_FAILURES and group[0] in self._open:
            self._failures = 0
            self._refuse(group[0], _Refusal(0, "", f"{reason}, {MOST_FAILURES} times"))


def _may_wait(entry: Entry, refusal: _Refusal) -> bool:
    """Whether the parent may be on its way: that of a job or a forked child comes from another process."""
    if refusal.field != "parent_reference_id" or entry.has_waited:
        return False
    parent = str(fixed_fields(entry.parts).get(refusal.field))
    return parent.rpartition("_")[0] != entry.reference_id.rpartition("_")[0]


def _refusals(body: Any, size: int) -> list[_Refusal]:
    """Return the refused datapoints and the reasons, from an answer in FastAPI's form."""
    found = []
    with suppress(TypeError, KeyError, AttributeError):
        for detail in body["detail"]:
            place = [part for part in detail["loc"] if part != "body"]
            index = next((part for part in place if isinstance(part, int)), 0 if size == 1 else -1)
            if 0 <= index < size:
                field = ".".join(str(part) for part in place if part != index)
                found.append(_Refusal(index, field, _one_line(str(detail["msg"]))))
    return found


def _reason(error: APIStatusError) -> str:
    """Return the API's reason to refuse the description of a session."""
    if isinstance(error, NotFoundError):
        return "it has no such session, or does not keep descriptions"
    for refusal in _refusals(error.body, 1):
        return f"{refusal.field}: {refusal.reason}"
    return f"HTTP status {error.status}"


def _with_hint(name: str) -> str:
    meant = meant_field(name)
    return name if meant is None else f"{name} (did you mean {meant}?)"


def _one_line(text: str) -> str:
    short = text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "..."
    return "".join(character if character.isprintable() else "?" for character in short)
