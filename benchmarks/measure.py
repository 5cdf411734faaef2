"""Measurements side by side: each round has all contenders, so that a slow machine slows them all."""

from __future__ import annotations

import asyncio
import gc
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import repeat
from random import Random
from statistics import median
from time import perf_counter
from types import FunctionType
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    # Does something the given number of times, and returns the seconds that it took.
    Run = Callable[[int], float]

Function = TypeVar("Function", bound="Callable[..., object]")

__all__ = [
    "FULL",
    "QUICK",
    "Effort",
    "awaits",
    "calls",
    "compare",
    "empty_loop",
    "modules_left_alone",
    "net_costs",
    "own",
    "paired_medians",
]


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes:
        rounds: in each of which every contender has its turn.
        turn: seconds that a turn takes, about: short, as the load of the machine changes all the time.
        scopes: how many to open where memory is watched.
    """

    rounds: int
    turn: float
    scopes: int

    def within(self, seconds: float) -> Effort:
        """Return as many rounds as one contender has time for."""
        return replace(self, rounds=max(1, min(self.rounds, int(seconds / max(self.turn, 1e-3)))))


FULL = Effort(rounds=400, turn=0.002, scopes=1_000_000)
QUICK = Effort(rounds=1, turn=0.0, scopes=1_000)


def own(function: Function) -> Function:
    """Return a copy with code of its own.

    The interpreter adapts code to its values, so contenders that share code would slow each other.
    """
    original = cast("FunctionType", function)
    copy = FunctionType(
        original.__code__.replace(),
        original.__globals__,
        original.__name__,
        original.__defaults__,
        original.__closure__,
    )
    return cast("Function", copy)


def calls(function: Callable[[], object]) -> Run:
    """Return a run that calls ``function``."""

    def run(number: int) -> float:
        started = perf_counter()
        for _ in repeat(None, number):
            function()
        return perf_counter() - started

    return own(run)


def awaits(function: Callable[[], Awaitable[object]]) -> Run:
    """Return a run that awaits the results of ``function``, in one task of an event loop."""

    async def run(number: int) -> float:
        started = perf_counter()
        for _ in repeat(None, number):
            await function()
        return perf_counter() - started

    own_run = own(run)
    return lambda number: asyncio.run(own_run(number))


@contextmanager
def modules_left_alone() -> Iterator[None]:
    """Hide from the garbage collector what this process has by now.

    That is mostly the modules of all contenders, and going through them takes more than 10 ms.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def empty_loop(number: int) -> float:
    """Run what :func:`calls` runs around each call."""
    started = perf_counter()
    for _ in repeat(None, number):
        pass
    return perf_counter() - started


def compare(runs: Mapping[str, Run], effort: Effort) -> dict[str, list[float]]:
    """Return the seconds of each contender for doing it once, a number for each round."""
    names, shuffle = list(runs), Random(0).shuffle
    numbers = {name: _number_for(run, effort.turn) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(effort.rounds):
        shuffle(names)  # some leave the machine slower to the next
        for name in names:
            seconds[name].append(runs[name](numbers[name]) / numbers[name])
    return seconds


def _number_for(run: Run, turn: float) -> int:
    """Return how often it can be done in ``turn`` seconds; finding that out warms up as well."""
    number = 1
    while (seconds := run(number)) < turn / 4:
        number *= 2
    return max(1, round(number * turn / seconds))


def paired_medians(seconds: Mapping[str, list[float]], reference: str) -> dict[str, float]:
    """Return the median of the reference, times the median of each contender's multiple of it."""
    ordinary = median(seconds[reference])
    return {
        name: ordinary * median(one / other for one, other in zip(rounds, seconds[reference], strict=True))
        for name, rounds in seconds.items()
    }


def net_costs(seconds: Mapping[str, list[float]], bare: str) -> dict[str, float]:
    """Return the median of each contender's extra time over the bare one of the same round.

    It is a nanosecond at the least: less is noise, of which nothing is a multiple.
    """
    return {
        name: max(median(one - nothing for one, nothing in zip(rounds, seconds[bare], strict=True)), 1e-9)
        for name, rounds in seconds.items()
        if name != bare
    }
