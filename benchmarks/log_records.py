"""A call of ``logging`` whose record has the ID of the current session."""

from __future__ import annotations

import logging
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from benchmarks.api import sessions_api
from benchmarks.measure import Effort, calls, compare, paired_medians
from benchmarks.neighbours import installed
from benchmarks.row import OURS, Row, limited
from hl_sessions import SessionManager
from hl_sessions.integrations.logging import install, uninstall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Run

__all__ = ["log_record_rows"]

BARE = "logging"


def log_record_rows(effort: Effort) -> Iterator[Row]:
    """Measure a call, to a handler that does nothing, with and without the record factory."""
    with sessions_api() as api, SessionManager(api.base_url) as manager, manager.session() as session:
        if session.id is None:
            raise RuntimeError("the session could not be created")
        runs = {BARE: calls(_call(logging.getLogger("bare"))), OURS: _with_factory(logging.getLogger("ours"))}
        runs |= installed({"asgi-correlation-id": _with_filter})
        figures = paired_medians(compare(runs, effort), BARE)
    yield limited(
        "a logging call to a null handler, the ID on its record", figures, times=1.06, reference=BARE
    )


def _call(logger: logging.Logger) -> Callable[[], None]:
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(logging.NullHandler())

    def call() -> None:
        logger.info("Answered in %d ms", 7)

    return call


def _with_factory(logger: logging.Logger) -> Run:
    run = calls(_call(logger))

    def run_with_factory(number: int) -> float:
        install()
        try:
            return run(number)
        finally:
            uninstall()

    return run_with_factory


def _with_filter() -> Run:
    logger = logging.getLogger("filtered")
    # Not on the handler, as it should be: one that does nothing asks no filter.
    logger.addFilter(resolve_name("asgi_correlation_id:CorrelationIdFilter")())
    resolve_name("asgi_correlation_id.context:correlation_id").set("an-id")
    return calls(_call(logger))
