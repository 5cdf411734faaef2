"""The session of the sender of a job, in the arq worker that runs it.

.. code-block:: python

    redis = connect(await create_pool(RedisSettings()))

    @connect
    class WorkerSettings:
        functions = [answer]
"""

from __future__ import annotations

import functools
import pickle
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from hl_sessions.carrying.message import CARRIED, acarry, carried, carry
from hl_sessions.manager import checked_manager

try:
    from arq.connections import ArqRedis
except ImportError as error:
    raise ImportError("hl_sessions.integrations.arq needs arq: pip install 'hl-sessions[arq]'") from error

if TYPE_CHECKING:
    from hl_sessions.manager import SessionManager

__all__ = ["connect"]

RedisOrSettings = TypeVar("RedisOrSettings")

_ENTERED = object()

# The carried session of the job that this task runs, and _ENTERED after its scope was entered.
_received: ContextVar[object] = ContextVar("hl_sessions_arq_received", default=None)


def connect(target: RedisOrSettings, manager: SessionManager | None = None) -> RedisOrSettings:
    """Let each job, and its retries, run in the session of its sender.

    Call this with the pool by which jobs are enqueued, and with the settings of the worker. The worker's own
    pool is connected, too. Enqueuing a job in a scope reads the ID like ``await session.aid()``. If the
    session cannot be created, the job is enqueued anyway. Cron jobs, and jobs that are enqueued outside every
    scope, have no session. The message of a job holds its session beside the arguments, as ``"hl_sessions"``;
    workers that are not connected ignore it. Calling this again replaces the manager.

    Args:
        target: the result of ``arq.create_pool``, a class ``WorkerSettings``, or an ``arq.Worker`` that does
            not run yet. Its existing serializers and hooks are still called.
        manager: the manager of the sessions in the worker. ``None``: the one of
            :func:`hl_sessions.configure`.

    Returns:
        ``target``.

    Raises:
        ConfigurationError: ``manager`` is not a manager.
        TypeError: ``target`` is none of these.
    """
    checked_manager(manager)
    if isinstance(target, ArqRedis):
        _connect_redis(target)
    elif isinstance(target, type) or hasattr(target, "functions"):
        _connect_worker(target, manager)
    else:
        raise TypeError(
            "target must be the result of 'await create_pool(...)', a class WorkerSettings, or a Worker, not"
            f" a {type(target).__name__}"
        )
    return target


def _connect_redis(redis: Any) -> None:
    enqueue_job, serialize = redis.enqueue_job, redis.job_serializer or pickle.dumps

    @functools.wraps(enqueue_job)
    async def enqueue_job_with_session(*args: Any, **kwargs: Any) -> Any:
        await acarry()  # creates the session, so that the serializer does not, which would block the loop
        return await enqueue_job(*args, **kwargs)

    def job_serializer(job: dict[str, Any]) -> Any:
        return serialize({**job, CARRIED: data} if (data := carry()) else job)

    redis.enqueue_job, redis.job_serializer = enqueue_job_with_session, job_serializer


def _connect_worker(worker: Any, manager: SessionManager | None) -> None:
    deserialize = getattr(worker, "job_deserializer", None) or pickle.loads
    startup, job_start = (getattr(worker, name, None) for name in ("on_startup", "on_job_start"))

    def job_deserializer(data: bytes) -> Any:
        job = deserialize(data)
        _received.set(job.get(CARRIED))
        return job

    async def on_startup(context: dict[Any, Any]) -> None:
        carried(None).__enter__()  # no session for the worker's task, which may have been started in a scope
        connect(context["redis"])
        if startup is not None:
            await startup(context)

    async def on_job_start(context: dict[Any, Any]) -> None:
        received = _received.get()
        if received is not _ENTERED:  # else by a later call of connect, whose hook comes first
            carried(received, manager).__enter__()  # never left, as the task runs only this job
            _received.set(_ENTERED)
        if job_start is not None:
            await job_start(context)

    worker.job_deserializer = job_deserializer
    worker.on_startup, worker.on_job_start = on_startup, on_job_start
