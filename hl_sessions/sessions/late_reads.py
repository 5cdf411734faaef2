"""Reads of the session of a request that has ended, by a loop or timer that may serve other requests by now.

A background task of the request reads late as well, and is right. Its context looks the same. Two rules tell
them apart:

- A loop that serves others reads only while their requests are served. A background task reads at times of
  its own: the share of the time in which requests are served is the probability that it reads during one of
  them. If the product of these shares becomes tiny, it is no coincidence. A read while no request is served
  begins the product anew.
- A chain of timers starts a task for each of its jobs, and no other task of the request is left. The tasks of
  a background task have a living parent, or descend from a task that has read before.
"""

from __future__ import annotations

import gc
import itertools
import logging
import sys
import threading
import weakref
from contextvars import Context, ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any

from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.once import Once
from hl_sessions.process.reentry import creating, is_creating
from hl_sessions.process.saying import say
from hl_sessions.sessions import context
from hl_sessions.sessions.current import current_session
from hl_sessions.sessions.opened import observe_requests, unobserve

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Callable, Iterator

    from hl_sessions.sessions.session import Session

__all__ = ["note_end", "references"]

SERVED = 10.0  # seconds that a request counts as being served at the most: WebSockets stay for hours
AFTERWARDS = 0.01  # seconds after its end in which what it has handed on may still be read
LEAST_SHARE = 0.05  # at the least, so that no single read says much
ALWAYS = 0.99  # the share of the time in which it is still the same request, or one after another
IRREGULAR = 0.25  # the part of the time between two reads by which it has to differ from the time before
FALSE_ALARM = 1e-4  # how likely one is in the life of a process, at the most
MOST_MISSES = 10  # reads while nobody was served, after which times say nothing any more
MOST_ORPHANS = 10  # tasks without a parent, each with requests of others since the one before
MOST_STAYS = 10  # reads of one task, too: it is no job of a timer
LOOKING = 0.01  # the share of the time that looking for parents may take
LONGEST_NAME = 200

# Where threads inherit the context, the parent of a task may be one of them.
_THREADS_INHERIT: bool = getattr(sys.flags, "thread_inherit_context", 0) == 1

# Without such a function any request may be outlived by something.
_counts: Iterator[int] = itertools.count()

#: Return how many references there are to a handle: also from contexts that were copied in its request, and
#: from here once its start was noted.
references: Callable[[object], int] = getattr(sys, "getrefcount", lambda _: next(_counts))

# Not empty while something reads late: then it matters which requests start.
_watched: dict[weakref.ref[_Watch], None] = {}

# The session that was read late in this context, or in the one that it is a copy of.
_read_late: ContextVar[Session | None] = ContextVar("hl_sessions.read_late", default=None)
_once = Once()


class _Traffic:
    """Measures the share of the time in which requests are served.

    Attributes:
        busy: seconds in which they were.
        started: when the youngest began.
        trials: how many products of shares have been begun, each of which may become tiny by chance.
        look_again: from when on parents may be looked for.
    """

    def __init__(self) -> None:
        self.busy = self.started = self.look_again = self._looked = self._end = 0.0
        self.trials = 0
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self.lock = threading.RLock()
        self._served: dict[Session, float] = {}

    def is_busy(self, now: float) -> bool:
        """Bring ``busy`` up to date, and return whether a request is being served."""
        self.busy += max(min(now, self._end) - self._looked, 0.0)
        self._looked = max(now, self._looked)
        return now < self._end

    def start(self, session: Session) -> None:
        """Note the start of a request."""
        with self.lock:
            self.started = now = monotonic()
            self.is_busy(now)
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
            return  # its start was not noted, as nothing was watched: most of them
        with self.lock:
            if self._served.pop(session, None) is not None:
                now = monotonic()
                self.is_busy(now)
                youngest = next(reversed(self._served.values()), -SERVED)
                self._end = max(youngest + SERVED, now + AFTERWARDS)


_traffic = _Traffic()


class _Watch:
    """The reads of a session since its request has ended.

    Args:
        now: when it was first read so.
    """

    def __init__(self, now: float) -> None:
        _traffic.is_busy(now)
        _traffic.trials += 1
        self._chance = 1.0  # that it is a coincidence
        self._misses = 0
        self._was_busy = False
        self._last, self._busy = now, _traffic.busy
        self._gap = 0.0
        self._task: weakref.ref[Task[Any]] | None = None
        self._orphans: int | None = None if _THREADS_INHERIT else 0  # None: there is, or may be, a parent
        self._started = 0.0
        self._stays = 0  # how often the same task has read later on
        self._reference = weakref.ref(self, _forget)
        _watched[self._reference] = None
        observe_requests(_note_start)

    @property
    def is_over(self) -> bool:
        """Whether no further read can settle it."""
        return self._misses >= MOST_MISSES and self._orphans is None

    def end(self) -> None:
        """Watch no longer."""
        _forget(self._reference)

    def comes_with_requests(self, now: float) -> bool:
        """Note a read, and return whether it is certain that they come with the requests of others."""
        if self._misses >= MOST_MISSES:
            return False
        is_busy, gap = _traffic.is_busy(now), now - self._last
        share = (_traffic.busy - self._busy) / gap if gap > 0.0 else 1.0
        if is_busy and share >= ALWAYS:
            return False
        if not is_busy:
            self._chance = 1.0
            if self._was_busy or _traffic.started >= self._last:  # else it is still the same pause
                self._misses += 1
                _traffic.trials += 1
        # What reads by the clock may always do so just after what asks by the clock: that says nothing.
        elif self._gap == 0.0 or abs(gap - self._gap) > IRREGULAR * gap:
            self._chance *= max(share, LEAST_SHARE)
        self._was_busy, self._last, self._busy, self._gap = is_busy, now, _traffic.busy, gap
        return self._chance < FALSE_ALARM / (_traffic.trials * (_traffic.trials + 1))

    def comes_of_nothing(self, session: Session) -> bool:
        """Note a read, and return whether it is certain that its tasks are started without a parent."""
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
    # Before Python 3.12 a task does not give its context away.
    get_context: Callable[[], Context] | None = getattr(task, "get_context", None)
    contexts = gc.get_referents(task) if get_context is None else [get_context()]
    return any(isinstance(each, Context) and each.get(context.current) is session for each in contexts)


def _ended_type(kind: type[Session]) -> type[Session]:
    """Return the class that a handle of class ``kind`` has from the end of its request on.

    So noting reads takes no time before.
    """
    ended: Any = kind.__dict__.get("_ended_type")
    if ended is None:

        def read(session: Any) -> str | None:
            known: str | None = session.__dict__.get("_id")
            if known is None:
                unknown: str | None = super(ended, session)._id
                return unknown
            if current_session() is session and not is_creating():  # else the handle itself is used
                _note_read(session, kind)
            return known

        def keep(session: Any, session_id: str | None) -> None:
            session.__dict__["_id"] = session_id

        attributes = {"__doc__": kind.__doc__, "_id": property(read, keep)}
        ended = kind._ended_type = type(kind.__name__, (kind,), attributes)
    result: type[Session] = ended
    return result


def _note_start(session: Session) -> None:
    _traffic.start(session)


def note_end(session: Session, method: str, path: str) -> None:
    """Note that a request was served; what it has started may go on.

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
    with _traffic.lock:
        watch: _Watch | None = session.__dict__.get("_watch")
        if watch is None:
            watch = session._watch = _Watch(now)
        is_of_others = watch.comes_with_requests(now)
    if (is_of_others or watch.comes_of_nothing(session)) and _once.is_first():
        _watched.clear()
        unobserve(_note_start)
        _tell(*session._ending)
    if _once.said or watch.is_over:
        session.__class__ = kind  # another thread may have done so meanwhile
        watch.end()


def _tell(request: str, ended: float) -> None:
    with creating():  # for a handler that reads the ID meanwhile
        say(
            logging.WARNING,
            "the session of the request %r, which ended %.0f seconds ago, is read again and again while other"
            " requests are served: what was started in it serves everybody in its session. Start that outside"
            " of requests or by 'unbound(...)', or use integrations.mcp.connect or"
            " integrations.gradio.connect; see 'What is started in a request and outlives it' in the guide"
            " (said once per process)",
            request,
            monotonic() - ended,
        )
