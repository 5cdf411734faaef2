"""Requests to an application that logs: as many as it can answer, and at half of that with several APIs."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from statistics import quantiles
from typing import TYPE_CHECKING, TypeVar

from benchmarks.api import listening_socket, sessions_api
from benchmarks.logging_application import NOTHING, logging_application
from benchmarks.measure import paired_medians
from benchmarks.paced_load import paced_load
from benchmarks.row import OURS, Row, limited
from benchmarks.server import DATABASES
from benchmarks.server_load import load
from benchmarks.server_process import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.logging_application import LoggingApplication
    from benchmarks.measure import Effort

Result = TypeVar("Result")

__all__ = ["logging_request_rows"]

CONNECTIONS = 64
ROUNDS = 7
SECONDS_OF_TURN = 3.0
FEWEST = 8  # requests of a turn
WHAT = "Starlette, three datapoints of 500 bytes a request"
LATENCY = 0.2  # seconds


def logging_request_rows(effort: Effort) -> Iterator[Row]:
    """Measure requests to one process, in which each way to log has its turn; then all is sent."""
    rounds = min(effort.rounds, ROUNDS)
    seconds = SECONDS_OF_TURN if effort.turn else 0.0
    with ExitStack() as stack:
        api = stack.enter_context(_api())
        application = stack.enter_context(logging_application(api, has_others=True))
        application.warm_up()
        costs = _saturate(application, rounds, seconds)
        saturated = paired_medians(
            {name: [one.seconds for one in every] for name, every in costs.items()}, NOTHING
        )
        yield limited(f"{WHAT}, at saturation", saturated, 1 / 0.6, reference=NOTHING)
        cpu = {name: [one.cpu_seconds for one in every] for name, every in costs.items()}
        yield limited(
            f"{WHAT}: CPU of the application", paired_medians(cpu, NOTHING), 1 / 0.6, reference=NOTHING
        )
        half = 0.5 / saturated[OURS]
        names = [name for name, cost in saturated.items() if half * cost < 1 or name == NOTHING]
        latencies = _pace(application, names, half, rounds, seconds)
        for percent, times in ((50, 1.1), (99, 1.2)):
            yield _percentile_row(f"{WHAT}, at half of that load", latencies, percent, times)
    for title, other_api, must_flush in (
        ("API that answers after 200 ms", partial(_api, LATENCY), False),
        ("API that never answers", _black_hole, False),
        ("our server on the same machine", _own_server, True),
    ):
        with other_api() as url, logging_application(url) as application:
            application.warm_up()
            latencies = _pace(application, application.names, half, rounds, seconds, must_flush=must_flush)
            yield _percentile_row(f"{WHAT}, at half of that load, {title}", latencies, 99, 1.1)


@dataclass(frozen=True)
class _Cost:
    """The seconds for a request among many, and its CPU time, until all is sent."""

    seconds: float
    cpu_seconds: float


def _saturate(application: LoggingApplication, rounds: int, seconds: float) -> dict[str, list[_Cost]]:
    """Return the costs of a request under saturation, one for each round."""
    with load(application.address, connections=CONNECTIONS) as clients:

        def turn(name: str, number: int) -> _Cost:
            before = application.cpu_seconds()
            taken = clients.requests("GET", application.path(name))(number)
            application.flush(name)
            return _Cost(taken / number, (application.cpu_seconds() - before) / number)

        numbers = {}
        for name in application.names:
            application.flush(name)
            few = max(FEWEST, int(seconds / 10 / turn(name, FEWEST).seconds))
            numbers[name] = max(FEWEST, int(seconds / turn(name, few).seconds))
        return _in_rounds(application.names, rounds, lambda name: turn(name, numbers[name]))


def _pace(
    application: LoggingApplication,
    names: Sequence[str],
    rate: float,
    rounds: int,
    seconds: float,
    *,
    must_flush: bool = True,
) -> dict[str, list[list[float]]]:
    """Return the seconds of requests that come at a steady rate, a list for each round."""
    number = max(FEWEST, int(seconds * rate))
    with paced_load(application.address, connections=CONNECTIONS) as client:

        def turn(name: str) -> list[float]:
            latencies = client.send(application.path(name), number, rate)
            if must_flush:
                application.flush(name)
            return latencies

        return _in_rounds(names, rounds, turn)


def _in_rounds(names: Sequence[str], rounds: int, turn: Callable[[str], Result]) -> dict[str, list[Result]]:
    """Return the figures of each contender in each round, with turns in changing order."""
    results: dict[str, list[Result]] = {name: [] for name in names}
    turns, shuffle = list(names), Random(0).shuffle
    for _ in range(rounds):
        shuffle(turns)
        for name in turns:
            results[name].append(turn(name))
    return results


def _percentile_row(
    title: str, latencies: Mapping[str, list[list[float]]], percent: int, times: float
) -> Row:
    seconds = {
        name: [quantiles(one, n=100, method="inclusive")[percent - 1] for one in every]
        for name, every in latencies.items()
    }
    return limited(
        f"{title}: {percent}th percentile", paired_medians(seconds, NOTHING), times, reference=NOTHING
    )


@contextmanager
def _api(latency: float = 0.0) -> Iterator[str]:
    with sessions_api(latency) as api:
        yield api.base_url.removesuffix("/v4")


@contextmanager
def _own_server() -> Iterator[str]:
    with DATABASES["SQLite"]() as database, serving(database) as server:
        server.wait()
        yield server.url


@contextmanager
def _black_hole() -> Iterator[str]:
    with listening_socket() as listener:
        host, port = listener.getsockname()
        yield f"http://{host}:{port}"
