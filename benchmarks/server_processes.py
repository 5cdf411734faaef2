"""Several processes of the server on one database, beside one."""

from __future__ import annotations

from contextlib import ExitStack
from random import Random
from statistics import median, quantiles
from typing import TYPE_CHECKING

from benchmarks.neighbour_servers import own_server
from benchmarks.row import OURS, Row, limited
from benchmarks.running_servers import running
from benchmarks.server import DATABASES
from benchmarks.server_load import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.measure import Effort
    from benchmarks.running_servers import RunningServer

__all__ = ["server_processes_rows"]

CONNECTIONS = 64
ROUNDS = 9
REQUESTS_OF_TURN = 3000
ONE_WORKER = "one worker"
ONE_SERVER = "one server"


def server_processes_rows(effort: Effort) -> Iterator[Row]:
    """Measure datapoints of 2 kB, one a request, from 64 connections."""
    rounds = min(effort.rounds, ROUNDS)
    requests = REQUESTS_OF_TURN if effort.turn else CONNECTIONS
    for name, times in (("SQLite", 1.3), ("PostgreSQL", 1.5)):
        title = f"POST /logs of 2 kB, {name}, two workers"
        with ExitStack() as stack:
            database = stack.enter_context(DATABASES[name]())
            servers = {
                ONE_WORKER: stack.enter_context(running(own_server(database))),
                OURS: stack.enter_context(running(own_server(database, workers=2))),
            }
            costs = _compare({who: [server] for who, server in servers.items()}, rounds, requests)
            memory = {who: server.memory() / 2**20 for who, server in servers.items()}
        yield limited(
            f"{title}: time", {who: time for who, (time, _) in costs.items()}, 1 / times, ONE_WORKER
        )
        waits = {who: wait for who, (_, wait) in costs.items()}
        yield limited(f"{title}: 99th percentile until the answer", waits, 1, ONE_WORKER)
        yield Row(f"{title}: memory", "MiB", memory, 2 * memory[ONE_WORKER], ONE_WORKER)
    with ExitStack() as stack:
        database = stack.enter_context(DATABASES["PostgreSQL"]())
        four = [stack.enter_context(running(own_server(database))) for _ in range(4)]
        costs = _compare({ONE_SERVER: four[:1], OURS: four}, rounds, requests)
    times_of = {who: time for who, (time, _) in costs.items()}
    yield limited("POST /logs of 2 kB, PostgreSQL, four servers: time", times_of, 1 / 1.7, ONE_SERVER)


def _compare(
    contenders: Mapping[str, Sequence[RunningServer]], rounds: int, requests: int
) -> dict[str, tuple[float, float]]:
    """Return the seconds for each datapoint, and the 99th percentile until an answer, as medians."""
    costs: dict[str, list[tuple[float, float]]] = {who: [] for who in contenders}
    names, shuffle = list(contenders), Random(0).shuffle
    for _ in range(rounds + 1):
        shuffle(names)
        for who in names:
            servers = contenders[who]
            request = servers[0].program.request(["benchmark"])
            with load(*(server.address for server in servers), connections=CONNECTIONS) as clients:
                seconds = clients.send([request] * requests)
                costs[who].append((seconds / requests, quantiles(clients.latencies, n=100)[-1]))
    # The first round warms up.
    return {
        who: (median(time for time, _ in every[1:]), median(wait for _, wait in every[1:]))
        for who, every in costs.items()
    }
