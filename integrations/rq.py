"""The session of the sender of a job, in the RQ worker that performs it.

.. code-block:: python

    queue = Queue(connection=Redis(), job_class=SessionJob)

The worker needs the same: ``rq worker --job-class hl_sessions.integrations.rq.SessionJob``.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

from hl_sessions.carrying.message import CARRIED, carried, carry
from hl_sessions.client.client import DEFAULT_TIMEOUT
from hl_sessions.datapoints.sender import flush_all

try:
    from rq.job import Job
except ImportError as error:
    raise ImportError("hl_sessions.integrations.rq needs RQ: pip install 'hl-sessions[rq]'") from error

if TYPE_CHECKING:
    from hl_sessions.carrying.message import CarriedScope
    from hl_sessions.manager import SessionManager

__all__ = ["SessionJob"]


class SessionJob(Job):
    """A job that is performed in the session of its sender, with its callbacks and retries.

    Use it as ``Queue(job_class=...)`` where jobs are enqueued, and as ``rq worker --job-class`` where they
    are performed. Enqueuing a job in a scope reads the ID like ``session.id``. If the session cannot be
    created, the job is enqueued anyway. A job that is enqueued outside every scope has no session. The
    ``meta`` of a job holds its session, as ``"hl_sessions"``.

    Attributes:
        manager: the manager of the sessions in workers, which subclasses can set. ``None``: the one of
            :func:`hl_sessions.configure`.
    """

    manager: ClassVar[SessionManager | None] = None

    #: The session of the job, empty if it has none; ``None``: the job is not created or restored yet.
    _carried: dict[str, str] | None = None

    @property
    def meta(self) -> dict[str, Any]:
        """The data of the application and the session; an assignment keeps the session."""
        # The application may assign one dictionary to several jobs, so the session is added at each use.
        if self._carried:
            self._meta[CARRIED] = self._carried
        else:
            self._meta.pop(CARRIED, None)
        return self._meta

    @meta.setter
    def meta(self, meta: dict[str, Any]) -> None:
        if self._carried is None:
            self._carried = meta.get(CARRIED)
        self._meta = meta

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> Job:
        """Create a job with the session of the caller, even if its ``meta`` is that of another job."""
        job: Any = super().create(*args, **kwargs)
        job._carried = carry()
        job.meta = dict(job._meta)
        created: Job = job
        return created

    def restore(self, raw_data: dict[Any, Any]) -> None:
        """Restore the job as it is stored, with its session, even if the stored ``meta`` has lost it."""
        before, self._carried = self._carried, None
        super().restore(raw_data)
        # RQ keeps the bytes of a meta that it cannot read, as long as nothing is added to it.
        is_readable = getattr(self, "_unreadable_meta", None) is None
        self._carried = self._carried or (before if is_readable else None) or {}

    def perform(self) -> Any:
        """Perform the job in its session."""
        try:
            _ = self.func  # imports its module, which may configure the manager
            with self._scope:
                return super().perform()
        finally:
            _send_datapoints()

    @property
    def success_callback(self) -> Any:
        """The callback, which also runs in the session."""
        return self._in_session(super().success_callback)

    @property
    def failure_callback(self) -> Any:
        """The callback, which also runs in the session."""
        return self._in_session(super().failure_callback)

    @property
    def stopped_callback(self) -> Any:
        """The callback, which also runs in the session."""
        return self._in_session(super().stopped_callback)

    @functools.cached_property
    def _scope(self) -> CarriedScope:
        return carried(self._carried, self.manager)

    def _in_session(self, callback: Any) -> Any:
        if callback is None:
            return callback

        @functools.wraps(callback)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                with self._scope:
                    return callback(*args, **kwargs)
            finally:
                _send_datapoints()

        return call


def _send_datapoints() -> None:
    # The process of a job ends without Python's exit handlers.
    flush_all(DEFAULT_TIMEOUT)
