"""The rows as a table, for the terminal and for the documentation."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from textwrap import fill
from typing import TYPE_CHECKING

from benchmarks.neighbour_servers import NEIGHBOUR_SERVERS
from benchmarks.neighbours import DISTRIBUTIONS
from benchmarks.row import OURS, TIMES, Row, formatted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["markdown_page", "summary", "text_table"]

WIDTH = 110
_HEADINGS = ("", OURS, "times", "at most", "others")
_MEASURED_WITH = (
    "requests",
    "urllib3",
    "wrapt",
    "starlette",
    "django",
    "uvicorn",
    "uvloop",
    "aiohttp",
    "grpcio",
    "dramatiq",
    "taskiq",
    "taskiq-redis",
)
_PAGE = """\
# Benchmarks

`make bench` measures this and writes this page. Less is better everywhere.

![The rows of the table with other libraries, as bars](benchmarks.svg)

{table}

- *hand-written* sets one context variable, runs the same code, and resets the variable. It is a class or a
  `wrapt` decorator that does nothing else: carrying a session takes at least that. "At most" is the promised
  limit.
- Rows of middleware, of `with_session` and of `current_session_id()` are net: the time of the bare
  application, the bare function or the empty loop is subtracted. Those of Django are whole requests, through
  the handlers of its test clients.
- Every contender has its turn in each round, in changing order, so that a slow machine slows all of them.
  Ratios are taken within a round, and the figures are medians over the rounds. The garbage collector runs as
  usual. All traffic is on the loopback, servers are processes of their own, and connections are kept open.
- The others are measured as they are published, with their defaults; OpenTelemetry with its SDK, in
  middleware without an exporter. They do other work than hl-sessions, and their figures include it.
- Requests to aiohttp and calls to gRPC are made by their own clients, and the session is never read. *Empty
  middleware* only calls the handler: what aiohttp needs for any middleware at all is in the figures of both.
- Threads and tasks that read "at once" read one new session of an API that answers after 100 ms. Here
  *hand-written* creates once, and then sets an event for the threads and one for the tasks; *unguarded* is
  the obvious code: it asks "is there an ID yet?" and creates one if not, its tasks with `asyncio.to_thread`.
  The garbage collector leaves alone what was there before, mostly the modules of all contenders: going
  through them stops the event loop for more than 10 ms.
- With prefetching, the reads are those of a Flask application that serves other requests in between: after a
  sleep, a machine that does nothing else takes ten times as long for the first steps of anything.
- Calls of `log()` and `datapoint()` are CPU time of the calling thread, within a session. The others start
  and end a span or generation that holds the same, and their exporters drop it. What waits is sent before the
  next turn.
- The application that logs is one process with a path for each contender. All send to an API that answers at
  once, from a process of its own. Ours and `requests.post` log within the session of the request, and the
  others send spans. At saturation more is logged than can be sent, so all but `requests.post` drop some. The
  application answers `requests.post` from Starlette's threads, as it would stop the event loop. At a load
  are only those that can answer it. *Our server on the same machine* takes several times the CPU of the
  application to store what it logs: that row shows what is left of the machine for both.
- Log records go to a null handler, which asks no filter: that of asgi-correlation-id is on the logger.
- Jobs are sent and executed by one process, in one event loop: from the call that sends one to its end.
- What waits is measured beside the JSON of its fields, as `json.dumps()` writes them.
- A datapoint counts as stored when its row is in the SQLite file of the server. The others are sent it as a
  span of OpenTelemetry. Ours is on the disk when it is answered; mlflow answers after its transaction, too.
  arize-phoenix answers before it stores anything, and has SQLite not wait for the disk (`synchronous = OFF`):
  what waits is lost with the process, and what is stored may be lost with the machine.
- The page that lists sessions is opened by a Chromium with an empty cache. Its first session is shown when
  the document has its question.

{measured_with}
"""


def summary(row: Row) -> str:
    """Return a row as one line."""
    times = "" if row.ratio is None else f" = {row.ratio:.3g} {TIMES} {row.reference}"
    verdict = "" if row.is_within_reach else "  MISSED"
    return f"{row.title}: {formatted(row.ours, row.unit)}{times} (at most {row.at_most_text}){verdict}"


def text_table(rows: Iterable[Row]) -> str:
    """Return the rows as a table for a terminal."""
    lines = [_HEADINGS, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS) - 1)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]
        ).rstrip()
        for line in lines
    )


def markdown_page(rows: Sequence[Row]) -> str:
    """Return the page of the documentation."""
    lines = [_HEADINGS, ["---"] * len(_HEADINGS), *map(_cells, rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    machine = f"{platform.system()}, {platform.machine()}, {os.cpu_count()} CPUs"
    measured_with = fill(f"Measured with {', '.join(_versions())}, on {machine}.", width=WIDTH)
    return _PAGE.format(table=table, measured_with=measured_with)


def _cells(row: Row) -> list[str]:
    others = [f"{name} {formatted(figure, row.unit)}" for name, figure in row.figures.items() if name != OURS]
    return [
        row.title,
        formatted(row.ours, row.unit),
        "" if row.ratio is None else f"{row.ratio:.3g}",
        row.at_most_text if row.is_within_reach else f"{row.at_most_text} (missed)",
        ", ".join(others),
    ]


def _versions() -> Iterator[str]:
    yield f"{platform.python_implementation()} {platform.python_version()}"
    for name in (*_MEASURED_WITH, *DISTRIBUTIONS):
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"
    yield from (server.installed() for server in NEIGHBOUR_SERVERS if server.is_installed())
