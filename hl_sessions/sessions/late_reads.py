"""Detects reads of a session after its request has ended, by a loop or timer that serves other requests.

A background task of the request also reads late, and may do so. Its context looks the same. Four rules
distinguish them:

- A loop that serves other requests reads only while these are served. A background task reads at independent
  times: the probability that a read falls into a request is the share of its waits in which one was served
  after the same time. Other times would mislead: a page that asks for each step of the task asks again just
  after a read. If the product of these shares becomes tiny, it is no coincidence. A read while no request is
  served resets the product.
- A chain of timers starts a task for each of its jobs, when no other task of the request is left. The tasks
  of a background task have a living parent, or descend from a task that has read before.
- A server whose loop serves requests often sets a context variable to the request at hand. In the context of
  an ended request, only code that serves others sets it to one request after the other. This holds on a busy
  server, too.
- What works for a request does so for minutes. What still reads an hour later, while others are served, is
  told of, whatever it is.

A read while a request of the same conversation is served says nothing: the session is the right one.
"""

from __future__ import annotations

import gc
import itertools
import logging
import sys
import threading
import weakref
from collections import deque
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.once import Once
from hl_sessions.process.reentry import creating, is_creating
from hl_sessions.process.saying import say
from hl_sessions.sessions import context
from hl_sessions.sessions.context import SESSION
from hl_sessions.sessions.current import current_session
from hl_sessions.sessions.opened import observe_requests, unobserve

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Callable, Iterator

    from hl_sessions.sessions.session import Session

__all__ = ["note_end", "references"]

SERVED = 10.0  # seconds that a request counts as served at the most, as WebSockets stay for hours
AFTERWARDS = 0.01  # seconds after its end in which its work may still be read by a loop
MOST_WAITS = 50  # waits with which the next one is compared
ALWAYS = 0.99  # a share from which on it is one request, or an unbroken series
IRREGULAR = 0.25  # the part by which the time between two reads has to differ from the former one
FALSE_ALARM = 1e-4  # the highest probability of a false alarm in the life of a process
MOST_MISSES = 10  # reads without a request, after which the first rule is given up
MOST_ORPHANS = 10  # tasks without a parent, each with other requests since the former one
MOST_OTHERS = 3  # other requests that were at hand
MOST_STAYS = 10  # reads of one task, which is no job of a timer then
LONG_AFTER = 3600.0  # seconds after a request in which its background work ends
LATELY = 60.0  # seconds in which another request has started
LOOKING = 0.01  # the share of the time that the search for parents may take
LONGEST_NAME = 200

_Names = tuple[str | None, str | None]

# If threads inherit the context, the parent of a task may be a thread.
_THREADS_INHERIT: bool = getattr(sys.flags, "thread_inherit_context", 0) == 1

# Without getrefcount, any request may be outlived by its code, so each count is a new number.
_counts: Iterator[int] = itertools.count()

#: Return the number of references to a handle, those from copied contexts included, and one from here if the
#: start of its request was noted.
references: Callable[[object], int] = getattr(sys, "getrefcount", lambda _: next(_counts))

# Not empty while a session is read late: then the starts of requests are noted.
_watched: dict[weakref.ref[_Watch], None] = {}

# The session that was read late in this context, or in the context from which it was copied.
_read_late: ContextVar[Session | None] = ContextVar("hl_sessions.read_late", default=None)
_once = Once()


class _Traffic:
    """Measures the share of the time in which requests are served.

    Attributes:
        busy: the seconds in which requests were served.
        since: the time from which on requests have been served without a break, if one is being served.
        started: the start of the latest request.
        trials: the number of products that were begun, each of which may become tiny by chance.
        look_again: the time from which on parents may be searched for again.
    """

    def __init__(self) -> None:
        self.busy = self.since = self.started = self.look_again = self._looked = self._end = 0.0
        self.trials = 0
        self._ended: _Names = None, None  # of the latest end, if no request has started since
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self.lock = threading.RLock()
        self._served: dict[Session, float] = {}

    def is_busy(self, now: float) -> bool:
        """Update ``busy``, and return whether a request is being served."""
        self.busy += max(min(now, self._end) - self._looked, 0.0)
        self._looked = max(now, self._looked)
        return now < self._end

    def start(self, session: Session) -> None:
        """Note the start of a request."""
        with self.lock:
            self.started = now = monotonic()
            if not self.is_busy(now):
                self.since = now
            self._ended = None, None
            while self._served:
                oldest = next(iter(self._served))
                if self._served[oldest] + SERVED > now:
                    break
                del self._served[oldest]
            self._served[session] = now
            self._end = now + SERVED

    def end(self, session: Session) -> None:
        """Note the end of a request."""
        if session not in self._served:
            return  # its start was not noted, as no session was watched then
        with self.lock:
            if self._served.pop(session, None) is not None:
                now = monotonic()
                self.is_busy(now)
                self._ended = _names(session)
                youngest = next(reversed(self._served.values()), -SERVED)
                self._end = max(youngest + SERVED, now + AFTERWARDS)

    def serves(self, session: Session) -> bool:
        """Whether a request of the same conversation is known to be served, or was until a moment ago."""
        own_id, own_key = _names(session)
        return session._decides() and any(
            bool(key) and key == own_key if session_id is None else session_id == own_id
            for session_id, key in (self._ended, *map(_names, self._served))
        )


_traffic = _Traffic()


class _Wait(NamedTuple):
    """The time between two reads of a session.

    Attributes:
        seconds: its length.
        served_after: the seconds after which requests were served until its end.
        share: the share of it in which requests were served.
    """

    seconds: float
    served_after: float
    share: float

    def share_after(self, seconds: float) -> float:
        """Return 1.0 if requests were certainly served after that time, else the share in general."""
        return 1.0 if seconds >= self.served_after else self.share


class _Watch:
    """The reads of a session after the end of its request.

    Args:
        now: the time of the first such read.
    """

    def __init__(self, now: float) -> None:
        _traffic.is_busy(now)
        _traffic.trials += 1
        self._chance = 1.0  # the probability of a coincidence
        self._misses = 0
        self._was_busy = False
        self._last, self._busy = now, _traffic.busy
        self._waits: deque[_Wait] = deque(maxlen=MOST_WAITS)
        self._task: weakref.ref[Task[Any]] | None = None
        self._orphans: int | None = None if _THREADS_INHERIT else 0  # None: there is, or may be, a parent
        self._started = 0.0
        self._stays = 0  # later reads by the same task
        self._others = 0
        self._holder: Callable[[], object] = lambda: None
        self._reference = weakref.ref(self, _forget)
        self.begin()

    @property
    def is_over(self) -> bool:
        """Whether no further read can decide about the first two rules, nor has to about the third one."""
        return self._misses >= MOST_MISSES and self._orphans is None

    def begin(self) -> None:
        """Let the starts of requests be noted."""
        _watched[self._reference] = None
        observe_requests(_note_start)

    def end(self) -> None:
        """Stop watching."""
        _forget(self._reference)

    def comes_with_requests(self, now: float) -> bool:
        """Note a read, and return whether the reads certainly coincide with other requests."""
        if self._misses >= MOST_MISSES:
            return False
        is_busy, seconds = _traffic.is_busy(now), now - self._last
        share = (_traffic.busy - self._busy) / seconds if seconds > 0.0 else 1.0
        if is_busy and share >= ALWAYS:
            return False
        if not is_busy:
            self._chance = 1.0
            if self._was_busy or _traffic.started >= self._last:  # else it is the same pause as before
                self._misses += 1
                _traffic.trials += 1
        # A periodic read may always follow a periodic request, so regular intervals prove nothing.
        elif not self._waits or abs(seconds - self._waits[-1].seconds) > IRREGULAR * seconds:
            shares = [each.share_after(seconds) for each in self._waits if each.seconds >= seconds]
            # The share of this wait counts, too, as there may be more requests now than before.
            self._chance *= max(share, (1.0 + sum(shares)) / (1.0 + len(shares)))
        served_after = max(_traffic.since - self._last, 0.0) if is_busy else seconds
        self._waits.append(_Wait(seconds, served_after, share))
        self._was_busy, self._last, self._busy = is_busy, now, _traffic.busy
        return self._chance < FALSE_ALARM / (_traffic.trials * (_traffic.trials + 1))

    def comes_of_nothing(self, session: Session) -> bool:
        """Note a read, and return whether its tasks certainly start without a parent."""
        if self._orphans is None:
            return False
        asyncio, begun = sys.modules.get("asyncio"), monotonic()
        if asyncio is None or asyncio._get_running_loop() is None:
            self._orphans = None  # the parent of a task may be this thread
            return False
        task: Task[Any] | None = asyncio.current_task()
        if task is None or begun < _traffic.look_again:
            return False
        is_later, self._started = self._started != _traffic.started, _traffic.started
        if self._task is not None and self._task() is task:
            self._stays += is_later
            if self._stays >= MOST_STAYS:
                self._orphans = None
            return False
        if _read_late.get() is session or session._is_bound or not _is_alone(task, session):
            self._orphans = None
            return False
        now = monotonic()
        _traffic.look_again = now + (now - begun) / LOOKING
        self._task, self._stays = weakref.ref(task), 0
        _read_late.set(session)
        self._orphans += is_later
        return self._orphans >= MOST_ORPHANS

    def serves_others(self, session: Session) -> bool:
        """Note a read, and return whether other requests were certainly at hand, one after the other."""
        if session._is_bound:
            return False  # a bound function runs among the variables of its caller
        for value in copy_context().values():
            # An object that was there before may only have been changed, for all that hold it.
            if value is self._holder() or (other := _session_in(value)) is None:
                continue
            other_id = other.__dict__.get("_id")
            if other_id == session.__dict__["_id"] or (other_id is None and session._decides()):
                continue  # it is, or may be, the same session
            if other.__dict__.pop("_is_other", False):  # each counts once
                with suppress(TypeError):  # to some objects there are no weak references
                    self._holder = weakref.ref(value)
                    self._others += 1
        return self._others >= MOST_OTHERS


def _names(session: Session) -> _Names:
    """Return the ID and the key of a session as far as they are known, and look nothing up."""
    return session.__dict__.get("_id"), session.__dict__.get("_key")


def _session_in(value: object) -> Session | None:
    """Return the session of the request that is ``value``, or its attribute ``request``."""
    try:
        attributes = value.__dict__
        for each in (attributes, getattr(attributes.get("request"), "__dict__", {})):
            scope = each.get("scope", each.get("environ"))
            if type(scope) is dict and SESSION in scope:
                session: Session = scope[SESSION]
                return session
    except Exception:  # noqa: BLE001 - a stand-in for another object may raise anything
        pass
    return None


def _forget(watch: weakref.ref[_Watch]) -> None:
    _watched.pop(watch, None)
    if not _watched:
        unobserve(_note_start)
        if _watched:  # another thread has begun to watch meanwhile
            observe_requests(_note_start)


def _is_alone(task: Task[Any], session: Session) -> bool:
    """Whether no other task of its event loop is in the session."""
    tasks = sys.modules["asyncio"].all_tasks()
    return [each for each in tasks if _is_in(each, session)] == [task]


def _is_in(task: Task[Any], session: Session) -> bool:
    # Before Python 3.12 a task has no get_context().
    get_context: Callable[[], Context] | None = getattr(task, "get_context", None)
    contexts = gc.get_referents(task) if get_context is None else [get_context()]
    return any(isinstance(each, Context) and each.get(context.current) is session for each in contexts)


def _ended_type(kind: type[Session]) -> type[Session]:
    """Return the class that a handle of class ``kind`` has after the end of its request.

    It notes reads. Before that, reads take no extra time.
    """
    ended: Any = kind.__dict__.get("_ended_type")
    if ended is None:

        def read(session: Any) -> str | None:
            known: str | None = session.__dict__.get("_id")
            if known is None:
                unknown: str | None = super(ended, session)._id
                return unknown
            if current_session() is session and not is_creating():  # else code uses the handle directly
                _note_read(session, kind)
            return known

        def keep(session: Any, session_id: str | None) -> None:
            session.__dict__["_id"] = session_id

        attributes = {"__doc__": kind.__doc__, "_id": property(read, keep)}
        ended = kind._ended_type = type(kind.__name__, (kind,), attributes)
    result: type[Session] = ended
    return result


def _note_start(session: Session) -> None:
    session._is_other = current_session() is None  # else the request may be work of the one around it
    _traffic.start(session)


def note_end(session: Session, method: str, path: str) -> None:
    """Note the end of a request, whose background code may go on.

    Args:
        session: its session.
        method: its method.
        path: its path, without the query, which may hold secrets.
    """
    _traffic.end(session)
    if not _once.said and not hasattr(session, "_ending"):
        session._ending = (f"{method} {path}"[:LONGEST_NAME], monotonic())
        session.__class__ = _ended_type(type(session))


def _note_read(session: Any, kind: type[Session]) -> None:
    now = monotonic()
    request, ended = session._ending
    is_long_after = now - ended >= LONG_AFTER
    with _traffic.lock:
        watch: _Watch | None = session.__dict__.get("_watch")
        if watch is None:
            watch = session._watch = _Watch(now)
        was_over = watch.is_over
        is_own = (is_long_after or not was_over) and _traffic.serves(session)
        is_of_others = not (was_over or is_own) and watch.comes_with_requests(now)
    if not (is_of_others or is_own or watch.is_over):
        is_of_others = watch.comes_of_nothing(session) or watch.serves_others(session)
    if watch.is_over and not was_over:
        watch.end()
    if is_long_after:
        watch.begin()
    goes_on = is_long_after and not is_own and now - _traffic.started < LATELY
    if (is_of_others or goes_on) and _once.is_first():
        _watched.clear()
        unobserve(_note_start)
        _tell(request, ended, "serves" if is_of_others else "goes on, and may serve")
    if _once.said:
        session.__class__ = kind  # another thread may have done so meanwhile
        watch.end()


def _tell(request: str, ended: float, does: str) -> None:
    with creating():  # for a handler that reads the ID meanwhile
        say(
            logging.WARNING,
            "the session of the request %r, which ended %.0f seconds ago, is read again and again while other"
            " requests are served: code that was started in it %s others in its session. Start that code"
            " outside of requests or by 'unbound(...)', or use integrations.mcp.connect or"
            " integrations.gradio.connect; see 'What is started in a request and outlives it' in the guide"
            " (said once per process)",
            request,
            monotonic() - ended,
            does,
        )
