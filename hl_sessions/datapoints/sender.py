"""The background thread that sends datapoints."""

from __future__ import annotations

import logging
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from hl_sessions.availability.outage import Outage
from hl_sessions.process.ending import end_at_last
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.outcome import Outcome, popped
from hl_sessions.process.reentry import creating
from hl_sessions.process.saying import show
from hl_sessions.process.seldom import Seldom
from hl_sessions.process.thread_on_demand import ThreadOnDemand

if TYPE_CHECKING:
    from hl_sessions.availability.outage import Incident
    from hl_sessions.availability.reports import Reports
    from hl_sessions.datapoints.delivery import Delivery
    from hl_sessions.datapoints.queue import Queue

__all__ = ["Sender", "aflush_all", "flush_all", "senders"]

INTERVAL = 0.1  # seconds that a datapoint waits for others of its batch
MOST_BYTES = 1 << 20  # of a batch
MOST_ENTRIES = 1000


_senders: weakref.WeakKeyDictionary[Sender, None] = weakref.WeakKeyDictionary()


def senders() -> list[Sender]:
    """Return all senders of this process, in the order in which they were made."""
    # In one step, as other threads may make some meanwhile.
    return [sender for reference in _senders.keyrefs() if (sender := reference()) is not None]


def flush_all(timeout: float) -> bool:
    """Wait until all datapoints of all managers are sent; return whether they are.

    Args:
        timeout: the longest time to wait, in seconds.
    """
    end = time.monotonic() + timeout
    flushed = [sender.flush(max(0.0, end - time.monotonic())) for sender in senders()]
    return all(flushed)


async def aflush_all(timeout: float) -> None:
    """Wait like :func:`flush_all`, while the event loop (asyncio or trio) keeps running."""
    end = time.monotonic() + timeout
    for sender in senders():
        flush = sender.begin_flush()
        if flush is not None:
            await flush.wait_in_task(max(0.0, end - time.monotonic()))


class _Flush(NamedTuple):
    """A call that waits for the entries that were there, and for those to which their sending leads.

    Attributes:
        present: the number of all entries at the call.
        goal: the number of all entries that have to be settled.
        done: the outcome for the caller.
    """

    present: int
    goal: int
    done: Outcome[None]


class Sender:
    """Sends the entries of a queue, in batches, from a thread that exists while it is needed.

    Args:
        queue: the queue.
        delivery: sends a batch.
        incident: reports the beginning and the end of an outage.
        reports: takes the warnings about entries that are dropped without an outage.
        timeout: the longest time in seconds that the end of the process waits.
    """

    def __init__(
        self, queue: Queue, delivery: Delivery, incident: Incident, reports: Reports, timeout: float
    ) -> None:
        self._queue = queue
        self._delivery = delivery
        self._incident = incident
        self._reports = reports
        self._timeout = timeout
        #: Whether sending has ended for good.
        self.is_closed = False
        #: Whether the close has counted the datapoints that are lost by it.
        self._is_counted = False
        self._warnings = Seldom()
        self._renew_after_fork()
        renew_after_fork(self)
        end_at_last(self)
        _senders[self] = None
        if len(queue):  # a former process has left entries
            self.notice()

    def _renew_after_fork(self) -> None:
        self._thread = ThreadOnDemand(self._work, "hl-sessions-datapoints", INTERVAL)
        self._flushes: deque[_Flush] = deque()
        self._outage = Outage(self._incident)
        self._most_entries = MOST_ENTRIES
        self._waited_for = 0

    @property
    def is_held_up(self) -> bool:
        """Whether entries wait because of an outage."""
        return self._outage.is_on

    def notice(self) -> None:
        """Note that the queue has a new entry."""
        self._thread.tell()
        if self._queue.size > MOST_BYTES and not self._outage.is_on:
            self._thread.hurry()

    def flush(self, timeout: float) -> bool:
        """Wait until all present entries are stored, refused or dropped; return whether they are.

        Args:
            timeout: the longest time to wait, in seconds.
        """
        flush = self.begin_flush()
        return flush is None or flush.wait(timeout)

    def begin_flush(self) -> Outcome[None] | None:
        """Send the queue without delay; return the outcome to wait for, ``None`` if all is sent already."""
        goal = self._queue.put_in_all
        if self._queue.settled >= goal:
            return None
        done: Outcome[None] = Outcome()
        self._flushes.append(_Flush(goal, goal, done))
        self._thread.hurry()
        if not self._thread.is_there:
            with creating():
                self._send_all()
        return done

    def extend_flushes(self) -> None:
        """Let the callers of :meth:`flush` whose entries are being sent wait for the newest entry, too."""
        for _ in range(len(self._flushes)):
            flush = popped(self._flushes)
            if flush is None:
                return
            if self._queue.settled < flush.present:
                flush = flush._replace(goal=self._queue.put_in_all)
            self._flushes.append(flush)

    def close(self, timeout: float) -> None:
        """Send the queue, for ``timeout`` seconds at most, and end sending."""
        self.flush(timeout)
        self.is_closed = True
        self._delivery.abort()
        self.retire()
        unsent, dropped = self._queue.unsettled(), self._queue.take_dropped()
        left = self._queue.drop_all()
        self._is_counted = True
        if left:
            self._reports.add(
                logging.WARNING,
                "datapoints that were not sent before the end, and stay in the spool for another process: %d",
                left,
            )
        if unsent > left:
            self._reports.add(
                logging.WARNING, "datapoints that were not sent before the end: %d", unsent - left
            )
        if dropped:
            self._reports.add(
                logging.WARNING,
                "datapoints that were dropped before, as the queue was full: %d",
                dropped,
            )
        self._reports.emit()

    def retire(self) -> None:
        """End the thread as soon as the queue is empty."""
        self._thread.retire()

    def _end_with_process(self) -> None:
        # Threads of the application may log after the main thread has ended. A flush that has failed is not
        # repeated for the same entries.
        if self._waited_for != self._queue.put_in_all:
            self._waited_for = self._queue.put_in_all
            self.flush(self._timeout)

    def _end_at_last(self) -> None:
        self._end_with_process()
        if self._queue.unsettled() or self._queue.dropped:
            self.close(0.0)
        self._queue.save()

    def _work(self) -> float | None:
        # In here, reads of the ID return at once, and the HTTP client logs nothing.
        with creating():
            self._send_all()
        self._tell()
        if self._is_counted:  # what the thread was sending at the close
            self._queue.drop_all()
        if not len(self._queue) and not self._flushes:
            return None
        return self._outage.seconds_to_trial() if self._outage.is_on else 0.0

    def _send_all(self) -> None:
        failure = None
        while (
            failure is None
            and not self.is_closed
            and (batch := self._queue.take(MOST_BYTES, self._most_entries))
        ):
            failure = self._delivery.deliver(batch)
            self._note(failure, len(batch))
            if self._flushes:  # refusals are logged before the caller of a flush goes on
                self._tell()
            self._answer_flushes()
        self._answer_flushes()

    def _tell(self) -> None:
        try:
            self._reports.emit()
        except Exception as error:  # noqa: BLE001 - raised by a logging handler of the application
            show(error)

    def _note(self, failure: Exception | None, size: int) -> None:
        if failure is not None:
            # The batch may be too large, or the API may fail at one of its datapoints.
            self._most_entries = max(1, size // 2)
            self._outage.failed("datapoints wait until the sessions API is back: %s", _described(failure))
            self._outage.note_request(getattr(failure, "retry_after", None) or 0.0)
            self._outage.cool_off()
            return
        self._most_entries = min(2 * self._most_entries, MOST_ENTRIES)
        if self._outage.is_on:
            self._outage.end("datapoints that were dropped", self._queue.take_dropped(), is_loss=True)
        elif self._queue.dropped and self._warnings.is_due("dropped"):
            self._reports.add(
                logging.WARNING,
                "datapoints that were dropped, as more are logged than can be sent: %d; queue_size is the"
                " most bytes that may wait",
                self._queue.take_dropped(),
            )

    def _answer_flushes(self) -> None:
        for _ in range(len(self._flushes)):
            flush = popped(self._flushes)
            if flush is None:
                return
            if self._queue.settled >= flush.goal:
                flush.done.set(None)
            else:
                self._flushes.append(flush)


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
