"""Measure everything; show it, and write it to the documentation."""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.carried_sessions import carried_sessions_rows
from benchmarks.conversations import conversation_rows
from benchmarks.current_id import current_id_rows
from benchmarks.decorator import decorator_rows
from benchmarks.django_requests import django_rows
from benchmarks.dramatiq_jobs import dramatiq_job_rows
from benchmarks.event_loop import event_loop_rows
from benchmarks.first_content import first_content_rows
from benchmarks.first_read import first_read_rows
from benchmarks.framework_servers import framework_server_rows
from benchmarks.log_calls import log_call_rows
from benchmarks.log_records import log_record_rows
from benchmarks.log_sending import log_sending_rows
from benchmarks.logging_requests import logging_request_rows
from benchmarks.measure import FULL, QUICK, Effort
from benchmarks.memory import memory_rows
from benchmarks.middleware import asgi_rows, wsgi_rows
from benchmarks.outage import outage_rows
from benchmarks.picture import bars_svg
from benchmarks.prefetching import prefetching_rows
from benchmarks.propagated_calls import propagated_call_rows
from benchmarks.report import markdown_page, summary, text_table
from benchmarks.server import server_rows
from benchmarks.server_processes import server_processes_rows
from benchmarks.server_size import server_size_rows
from benchmarks.simultaneous import simultaneous_rows
from benchmarks.spans import span_rows
from benchmarks.stored_datapoints import stored_datapoints_rows
from benchmarks.taskiq_jobs import taskiq_rows
from benchmarks.whole_request import whole_request_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.row import Row

# In the order of the report; to add rows, add a function that measures and gives them.
BENCHMARKS: tuple[Callable[[Effort], Iterator[Row]], ...] = (
    asgi_rows,
    wsgi_rows,
    whole_request_rows,
    django_rows,
    framework_server_rows,
    current_id_rows,
    decorator_rows,
    first_read_rows,
    simultaneous_rows,
    event_loop_rows,
    prefetching_rows,
    outage_rows,
    conversation_rows,
    carried_sessions_rows,
    propagated_call_rows,
    dramatiq_job_rows,
    taskiq_rows,
    log_call_rows,
    log_sending_rows,
    logging_request_rows,
    log_record_rows,
    span_rows,
    server_rows,
    server_processes_rows,
    stored_datapoints_rows,
    server_size_rows,
    first_content_rows,
    memory_rows,
)
DOCS = Path(__file__).resolve().parent.parent / "docs"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="only try that everything works: the figures mean nothing"
    )
    parser.add_argument(
        "--output", type=Path, default=DOCS, help="the folder for benchmarks.md and benchmarks.svg"
    )
    options = parser.parse_args(arguments)

    rows = list(_measured(QUICK if options.quick else FULL))
    print("", text_table(rows), "", sep="\n")
    options.output.mkdir(parents=True, exist_ok=True)
    for name, text in (("benchmarks.md", markdown_page(rows)), ("benchmarks.svg", bars_svg(rows))):
        path = options.output / name
        path.write_text(text, encoding="utf-8")
        print(f"written: {path}")


def _measured(effort: Effort) -> Iterator[Row]:
    started = perf_counter()
    for position, benchmark in enumerate(BENCHMARKS, start=1):
        for row in benchmark(effort):
            seconds = perf_counter() - started
            print(f"[{position}/{len(BENCHMARKS)}, {seconds:3.0f} s] {summary(row)}", flush=True)
            yield row


if __name__ == "__main__":
    main()
