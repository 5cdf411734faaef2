"""Spans of OpenTelemetry that are begun and ended where the session ID is known."""

from __future__ import annotations

from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from benchmarks.api import sessions_api
from benchmarks.measure import Effort, calls, compare, net_costs, paired_medians
from benchmarks.neighbours import get_baggage, installed
from benchmarks.row import OURS, Row, limited
from hl_sessions import SessionManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["span_rows"]

SDK = "OpenTelemetry SDK"
BAGGAGE = "BaggageSpanProcessor"


def span_rows(effort: Effort) -> Iterator[Row]:
    """Measure the span processor."""
    makers: dict[str, Callable[[], Any]] = {
        SDK: partial(_span, None),
        OURS: partial(_span, _ours),
        BAGGAGE: partial(_span, _baggage),
    }
    spans = installed(makers)
    if len(spans) < len(makers):
        return
    with sessions_api() as api, SessionManager(api.base_url) as manager, manager.session() as session:
        if session.id is None:
            raise RuntimeError("the session could not be created")
        seconds = compare({name: calls(span) for name, span in spans.items()}, effort)
    yield limited("span with a known ID", paired_medians(seconds, SDK), times=1.1, reference=SDK)
    added = net_costs(seconds, SDK)
    yield limited("span with a known ID: what the processor adds", added, times=0.5, reference=BAGGAGE)


def _span(make_processor: Callable[[], Any] | None) -> Callable[[], object]:
    """Return a function that begins and ends a span."""
    provider = resolve_name("opentelemetry.sdk.trace:TracerProvider")(shutdown_on_exit=False)
    if make_processor is not None:
        provider.add_span_processor(make_processor())
    start_span = provider.get_tracer("benchmark").start_span
    return lambda: start_span("answer").end()


def _ours() -> Any:
    return resolve_name("hl_sessions.integrations.opentelemetry:SessionSpanProcessor")()


def _baggage() -> Any:
    get_baggage()  # from now on it holds an ID
    module = "opentelemetry.processor.baggage"
    return resolve_name(f"{module}:BaggageSpanProcessor")(resolve_name(f"{module}:ALLOW_ALL_BAGGAGE_KEYS"))
