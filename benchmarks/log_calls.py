"""The time of the caller that logging takes, for a complete datapoint and for one that stays open."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from time import thread_time
from typing import TYPE_CHECKING, Protocol

from benchmarks.loggers import LANGFUSE, Ours, content, dropping
from benchmarks.measure import Effort, compare, own, paired_medians
from benchmarks.neighbours import OPENTELEMETRY
from benchmarks.row import OURS, Row, limited
from benchmarks.server import DATABASES
from benchmarks.server_process import serving
from hl_sessions import SessionManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.loggers import Content
    from benchmarks.measure import Run

__all__ = ["log_call_rows"]

SIZE = 2_000  # bytes
ROUNDS = 100
WARM_UP = 100  # calls
#: By title: the name of the method, and the highest allowed multiple of each of the others.
AT_MOST: dict[str, tuple[str, Mapping[str, float]]] = {
    "log() of 2 kB": ("log", {OPENTELEMETRY: 0.35, LANGFUSE: 0.15}),
    "with datapoint() of 2 kB": ("log_block", {OPENTELEMETRY: 0.6, LANGFUSE: 0.25}),
}


class _Contender(Protocol):
    def log(self, content: Content, /) -> object: ...
    def log_block(self, content: Content, /) -> object: ...
    def flush(self) -> object: ...


def log_call_rows(effort: Effort) -> Iterator[Row]:
    """Measure the CPU time of the caller's thread; all is sent before the next one has its turn."""
    # Turns that are long beside what it takes to wake the thread that sends.
    effort = replace(effort, rounds=min(effort.rounds, ROUNDS), turn=effort.turn * 5)
    with ExitStack() as stack:
        server = stack.enter_context(serving(stack.enter_context(DATABASES["SQLite"]())))
        server.wait()
        manager = stack.enter_context(SessionManager(f"{server.url}/v4"))
        contenders: dict[str, _Contender] = {OURS: Ours(manager), **dropping()}
        stack.enter_context(manager.session())
        for title, (method, limits) in AT_MOST.items():
            runs = {name: _calls(getattr(one, method), one.flush) for name, one in contenders.items()}
            for run in runs.values():
                run(WARM_UP)
            seconds = compare(runs, effort)
            for name, times in limits.items():
                if name in contenders:
                    figures = paired_medians({OURS: seconds[OURS], name: seconds[name]}, name)
                    yield limited(f"{title}, beside {name}", figures, times, reference=name)


def _calls(log: Callable[[Content], object], flush: Callable[[], object]) -> Run:
    """Return a run that logs; nothing waits when it begins, so no queue gets full."""
    logged = content(SIZE)

    def run(number: int) -> float:
        started = thread_time()
        for _ in range(number):
            log(logged)
        seconds = thread_time() - started
        flush()
        return seconds

    return own(run)
