"""Dramatiq actors that tell what session they run in."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage, GroupCallbacks, Middleware
from dramatiq.rate_limits.backends import RedisBackend as RateLimiterBackend
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from hl_sessions import SessionManager, current_session, current_session_id, log


def read(*_: Any) -> str | None:
    return current_session_id()


async def read_in_coroutine() -> str | None:
    return current_session_id()


def read_on(before: Sequence[str | None] = ()) -> list[str | None]:
    return [*before, current_session_id()]


def log_params() -> list[dict[str, str]]:
    session = current_session()
    return [] if session is None else [session.log_params(), session.log_params()]


def log_datapoint() -> str:
    return log(project="bot", source="in an actor")


def log_and_end() -> None:
    """Log a datapoint in a worker process, and tell its parent to end."""
    log_datapoint()
    parent = multiprocessing.parent_process()  # that of the process itself may be a server of forks
    assert parent is not None
    assert parent.pid is not None
    os.kill(parent.pid, signal.SIGTERM)


def fail_twice() -> list[str | None]:
    """Note the session in each of three attempts, and fail in a scope of its own."""
    message: Any = CurrentMessage.get_current_message()
    seen: list[str | None] = message.options.setdefault("seen", [])
    seen.append(current_session_id())
    if len(seen) < 3:
        with SessionManager(timeout=60).session(new=True):
            raise dramatiq.Retry(delay=0)
    return seen


def fail() -> None:
    raise ValueError


ACTORS: list[Callable[..., Any]] = [
    *(read, read_in_coroutine, read_on, log_params, log_datapoint, log_and_end, fail_twice, fail),
]


def make_broker(url: str, *middleware: Middleware) -> RedisBroker:
    broker = RedisBroker(url=url)
    for each in (
        CurrentMessage(),
        GroupCallbacks(RateLimiterBackend(url=url)),
        Results(backend=RedisBackend(url=url)),
        *middleware,
    ):
        broker.add_middleware(each)
    for function in ACTORS:
        dramatiq.actor(broker=broker, store_results=True)(function)

    @dramatiq.actor(broker=broker, store_results=True)
    def send() -> dict[str, Any]:
        """Send a message in an actor."""
        return broker.get_actor("read").send().asdict()

    @dramatiq.actor(broker=broker)
    def note(message: dict[str, Any], *_: Any) -> None:
        """Note the session of a callback under the ID of the message whose callback it is."""
        broker.client.rpush(f"noted-{message['message_id']}", current_session_id() or "none")

    return broker
