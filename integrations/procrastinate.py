"""The session of the sender of a job, in the procrastinate worker that runs it.

.. code-block:: python

    app = App(connector=PsycopgConnector())
    connect(app)  # in the module that senders and workers import
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hl_sessions.carrying.message import CARRIED, acarry, carried, carry
from hl_sessions.manager import checked_manager

try:
    from procrastinate import App
    from procrastinate.manager import JobManager
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.procrastinate needs procrastinate: pip install 'hl-sessions[procrastinate]'"
    ) from error

if TYPE_CHECKING:
    from procrastinate import JobContext
    from procrastinate.jobs import Job
    from procrastinate.middleware import AsyncCallNext

    from hl_sessions.manager import SessionManager

__all__ = ["connect"]


def connect(app: App, manager: SessionManager | None = None) -> None:
    """Let each job of an application run in the session of its sender.

    Call this where the application is made, both where jobs are deferred and in the workers. In Django, use
    it as the value of ``PROCRASTINATE_ON_APP_READY``. Deferring a job in a scope reads the ID like
    ``session.id``, or like ``await session.aid()`` in coroutines. If the session cannot be created, the job
    is deferred anyway. Retries have the session, too. Periodic jobs, and jobs that are deferred outside every
    scope, have no session. Calling this again replaces the manager.

    The arguments of a job hold its session, as ``"hl_sessions"``, until a middleware of the worker removes
    it. That middleware is in the ``worker_defaults`` of the application. Add your own there, too: middleware
    that is passed to ``run_worker`` replaces it.

    Args:
        app: the application.
        manager: the manager of the sessions in workers. ``None``: the one of :func:`hl_sessions.configure`.

    Raises:
        ConfigurationError: ``manager`` is not a manager.
        TypeError: ``app`` is not an application of procrastinate.
    """
    if not isinstance(app, App):
        raise TypeError(f"app must be an App of procrastinate, not a {type(app).__name__}")
    manager = checked_manager(manager)
    jobs = app.job_manager
    if not isinstance(jobs, _SessionJobManager):
        jobs = app.job_manager = _SessionJobManager(jobs.connector)
        middleware = [jobs.run, *(app.worker_defaults.get("worker_middleware") or [])]
        app.worker_defaults = {**app.worker_defaults, "worker_middleware": middleware}
    jobs.sessions = manager


class _SessionJobManager(JobManager):
    """Defers jobs with the session of the caller, and runs them in it."""

    sessions: SessionManager | None = None

    async def batch_defer_jobs_async(self, jobs: list[Job], connection: Any | None = None) -> list[Job]:
        """Defer jobs with the session of the caller, while the event loop keeps running."""
        return await super().batch_defer_jobs_async(_with(await acarry(), jobs), connection)

    def batch_defer_jobs(self, jobs: list[Job], connection: Any | None = None) -> list[Job]:
        """Defer jobs with the session of the caller."""
        return super().batch_defer_jobs(_with(carry(), jobs), connection)

    async def run(self, call_next: AsyncCallNext, context: JobContext, _worker: object) -> Any:
        """Run a job in its session."""
        arguments = context.job.task_kwargs
        data = arguments.pop(CARRIED, None)
        try:
            with carried(data, self.sessions):
                return await call_next()
        finally:
            if data is not None:  # for a retry, as a job in memory shares these arguments
                arguments[CARRIED] = data


def _with(data: dict[str, str], jobs: list[Job]) -> list[Job]:
    if not data:
        return jobs
    return [job.evolve(task_kwargs={**job.task_kwargs, CARRIED: data}) for job in jobs]
