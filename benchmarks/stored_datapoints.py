"""Datapoints until they are stored, beside other servers and version 0.1 of this one."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING

from benchmarks.neighbour_servers import NEIGHBOUR_SERVERS, OLD, own_server
from benchmarks.row import OURS, limited
from benchmarks.running_servers import running
from benchmarks.server_load import Load, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.measure import Effort
    from benchmarks.row import Row
    from benchmarks.running_servers import RunningServer

__all__ = ["CONNECTIONS", "store", "stored_datapoints_rows"]

CONNECTIONS = 64
LIST = 100
ROUNDS = 7
SECONDS_OF_TURN = 2.0
LOOK_INTERVAL = 0.02  # seconds
AT_MOST_OF_OLD = {1: 1 / 2.5, LIST: 1 / 3}
AT_MOST_OF_OTHERS = {1: 1 / 15, LIST: 1 / 30}


def stored_datapoints_rows(effort: Effort) -> Iterator[Row]:
    """Measure datapoints of 2 kB, one a request and in lists; nothing where no other server is installed."""
    servers = [server for server in NEIGHBOUR_SERVERS if server.is_installed()]
    if not servers:
        return
    rounds = min(effort.rounds, ROUNDS)
    seconds = SECONDS_OF_TURN if effort.turn else 0.0
    with ExitStack() as stack:
        contenders = [_Contender(stack.enter_context(running(one))) for one in (own_server(), *servers)]
        for size, what in ((1, "by itself"), (LIST, f"in a list of {LIST}")):
            costs = _compare(contenders, size, rounds, seconds)
            title = f"storing a datapoint of 2 kB {what}, SQLite"
            yield from _rows(title, {name: cost.seconds for name, cost in costs.items()}, size)
            cpu_seconds = {name: cost.cpu_seconds for name, cost in costs.items()}
            yield from _rows(f"{title}: CPU of the server", cpu_seconds, size)


@dataclass(frozen=True)
class _Cost:
    """The seconds for a datapoint, from sending it until it is stored, among many; and its CPU time."""

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class _Contender:
    server: RunningServer

    @property
    def name(self) -> str:
        return self.server.program.name

    def store(self, requests: int, size: int) -> _Cost:
        """Send so many requests, with so many datapoints each, and wait until all are stored."""
        built = [self.server.program.request(["benchmark"] * size) for _ in range(requests)]
        cpu_seconds = self.server.cpu_seconds()
        # Connections anew, as servers close those that idle.
        with load(self.server.address, connections=CONNECTIONS) as clients:
            seconds = store(self.server, clients, built, requests * size)
        cpu_seconds = self.server.cpu_seconds() - cpu_seconds
        return _Cost(seconds / (requests * size), cpu_seconds / (requests * size))


def store(server: RunningServer, clients: Load, requests: Sequence[bytes], datapoints: int) -> float:
    """Send requests that have so many datapoints in all; return the seconds until all are stored."""
    expected = server.stored() + datapoints
    seconds = clients.send(requests)
    answered = perf_counter()
    while server.stored() < expected:  # some answer before
        sleep(LOOK_INTERVAL)
        seconds += perf_counter() - answered
        answered = perf_counter()
    return seconds


def _compare(contenders: Sequence[_Contender], size: int, rounds: int, seconds: float) -> dict[str, _Cost]:
    """Return the medians of each."""
    numbers = [_number_for(contender, size, seconds) for contender in contenders]
    costs: dict[str, list[_Cost]] = {contender.name: [] for contender in contenders}
    turns = list(zip(contenders, numbers, strict=True))
    shuffle = Random(0).shuffle
    for _ in range(rounds):
        shuffle(turns)
        for contender, number in turns:
            costs[contender.name].append(contender.store(number, size))
    return {
        name: _Cost(median(cost.seconds for cost in every), median(cost.cpu_seconds for cost in every))
        for name, every in costs.items()
    }


def _number_for(contender: _Contender, size: int, seconds: float) -> int:
    """Return how many requests take about so long; the first ones warm up."""
    number = 8
    contender.store(number, size)
    cost = contender.store(number, size)
    return max(number, int(seconds / (cost.seconds * size)))


def _rows(title: str, figures: Mapping[str, float], size: int) -> Iterator[Row]:
    """Return a row beside each of the others, as each has a bound of its own."""
    for name in figures:
        if name != OURS:
            at_most = (AT_MOST_OF_OLD if name == OLD else AT_MOST_OF_OTHERS)[size]
            yield limited(
                f"{title}, beside {name}", {OURS: figures[OURS], name: figures[name]}, at_most, name
            )
