"""The session of the sender of a job, in the SAQ worker that processes it.

.. code-block:: python

    queue = connect(Queue.from_url("redis://localhost"))
    settings = connect({"queue": queue, "functions": [answer]})  # of the worker
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from hl_sessions.carrying.message import CARRIED, acarry, carried
from hl_sessions.client.client import DEFAULT_TIMEOUT
from hl_sessions.datapoints.sender import aflush_all
from hl_sessions.manager import checked_manager

try:
    from saq import Queue
except ImportError as error:
    raise ImportError("hl_sessions.integrations.saq needs SAQ: pip install 'hl-sessions[saq]'") from error

if TYPE_CHECKING:
    from saq import Job
    from saq.types import SettingsDict

    from hl_sessions.manager import SessionManager

__all__ = ["connect"]

QueueOrSettings = TypeVar("QueueOrSettings", bound="Queue | dict[str, Any] | SettingsDict[Any]")


def connect(target: QueueOrSettings, manager: SessionManager | None = None) -> QueueOrSettings:
    """Let each job, and its retries, run in the session of its sender.

    Call this with the queue where jobs are enqueued, and with the settings of the worker, whose queue is
    connected, too. Enqueuing a job in a scope reads the ID like ``await session.aid()``. If the session
    cannot be created, the job is enqueued anyway. Cron jobs, and jobs that are enqueued outside every scope,
    have no session. The ``meta`` of a job holds its session, as ``"hl_sessions"``. Calling this again
    replaces the manager.

    Args:
        target: the queue, or the settings of a worker: those of ``saq module.settings``, or the arguments of
            ``saq.Worker``. Existing hooks are still called, in the session.
        manager: the manager of the sessions in the worker. ``None``: the one of
            :func:`hl_sessions.configure`.

    Returns:
        ``target``.

    Raises:
        ConfigurationError: ``manager`` is not a manager.
        TypeError: ``target`` is neither a queue nor settings.
    """
    checked_manager(manager)
    if isinstance(target, Queue):
        target.register_before_enqueue(_before_enqueue)
        return target
    if not isinstance(target, dict):
        raise TypeError(
            f"target must be a queue of SAQ, or the settings of a worker, not a {type(target).__name__}"
        )

    async def before_process(context: dict[str, Any]) -> None:
        if CARRIED in context:  # by a later call of connect, whose hooks come first
            return
        scope = context[CARRIED] = carried(context["job"].meta.get(CARRIED), manager)
        scope.__enter__()

    settings: Any = target
    settings["startup"] = [_startup, *_hooks(settings, "startup")]
    settings["before_process"] = [before_process, *_hooks(settings, "before_process")]
    settings["after_process"] = [*_hooks(settings, "after_process"), _after_process]
    settings["shutdown"] = [*_hooks(settings, "shutdown"), _shutdown]
    return target


def _hooks(settings: dict[str, Any], name: str) -> list[Any]:
    hooks = settings.get(name) or []
    return [hooks] if callable(hooks) else list(hooks)


# SAQ runs hooks that are no coroutine functions in threads.


async def _before_enqueue(job: Job) -> None:
    meta = {name: value for name, value in job.meta.items() if name != CARRIED}
    job.meta = {**meta, CARRIED: data} if (data := await acarry()) else meta


async def _startup(context: dict[str, Any]) -> None:
    worker = context["worker"]
    connect(worker.queue)
    schedule = worker.schedule

    async def schedule_outside_scopes(*args: Any) -> None:
        with carried(None):  # the worker may have been started in a scope
            await schedule(*args)

    worker.schedule = schedule_outside_scopes


async def _after_process(context: dict[str, Any]) -> None:
    scope = context.pop(CARRIED, None)
    if scope is not None:
        scope.__exit__(None, None, None)


async def _shutdown(_: dict[str, Any]) -> None:
    # Processes of "saq --workers" end without Python's exit handlers.
    await aflush_all(DEFAULT_TIMEOUT)
