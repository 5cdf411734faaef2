"""A huey whose tasks tell what session they run in."""

import asyncio
import os
import signal
from typing import Any

from huey import Huey, RetryTask
from huey.storage import RedisStorage

from hl_sessions import SessionManager, current_session, current_session_id, log
from hl_sessions.integrations.huey import SessionHuey


def read(*_: Any) -> str | None:
    return current_session_id()


def read_in_coroutine() -> str | None:
    async def read() -> str | None:
        return current_session_id()

    return asyncio.run(read())


def read_on(before: list[str | None]) -> list[str | None]:
    return [*before, current_session_id()]


def log_params() -> list[dict[str, str]]:
    session = current_session()
    return [] if session is None else [session.log_params(), session.log_params()]


def log_datapoint() -> str:
    return log(project="bot", source="in a task")


def log_and_end() -> None:
    """Log a datapoint in a process of a consumer, and tell its parent to end."""
    log_datapoint()
    os.kill(os.getppid(), signal.SIGINT)


def fail() -> None:
    raise ValueError


def make_huey(url: str, name: str = "bot", manager: SessionManager | None = None) -> Huey:
    """Make a huey with all these tasks, and some that need it; its attribute ``tasks`` has them."""
    settings: dict[str, Any] = {"store_none": True, "store_intermediate_errors": False}
    storage: dict[str, Any] = {"url": url, "read_timeout": 0.1, "notify_result": True}
    huey = SessionHuey(name, manager=manager, storage_class=RedisStorage, **settings, **storage)
    huey.tasks = {
        function.__name__: huey.task()(function)
        for function in (read, read_in_coroutine, read_on, log_params, log_datapoint, log_and_end, fail)
    }

    def fail_twice(key: str, delay: float | None = None) -> list[str | None]:
        """Note the session in each of three attempts, and fail in a scope of its own."""
        seen = [*(huey.get(key, peek=True) or []), current_session_id()]
        huey.put(key, seen)
        if len(seen) < 3:
            with SessionManager(timeout=60).session(new=True):
                raise ValueError if delay is None else RetryTask(delay=delay)
        return seen

    def enqueue() -> Any:
        """Enqueue a task in a task."""
        return huey.tasks["read"]().id

    huey.tasks["fail_twice"] = huey.task(retries=2)(fail_twice)
    huey.tasks["enqueue"] = huey.task()(enqueue)
    return huey
