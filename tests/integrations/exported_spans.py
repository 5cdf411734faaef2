"""Spans with the session, as an exporter gets them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hl_sessions.integrations.opentelemetry import SessionSpanProcessor
from hl_sessions.sessions import opened


class Spans:
    """A provider with our processor, and what it exports."""

    def __init__(self, limits: SpanLimits | None = None, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, span_limits=limits)
        self.provider.add_span_processor(BatchSpanProcessor(self.exporter))
        self.processor = SessionSpanProcessor(**options)
        self.provider.add_span_processor(self.processor)
        self.tracer = self.provider.get_tracer("tests")

    def ended(self) -> list[ReadableSpan]:
        self.provider.force_flush()
        return list(self.exporter.get_finished_spans())

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Of each span that has ended, by its name."""
        return {span.name: dict(span.attributes or {}) for span in self.ended()}

    def ids(self) -> dict[str, Any]:
        return {name: attributes.get("session.id") for name, attributes in self.attributes().items()}


@contextmanager
def exporting_spans(limits: SpanLimits | None = None, **options: Any) -> Iterator[Spans]:
    spans = Spans(limits, **options)
    yield spans
    spans.provider.shutdown()
    # Others may come and go meanwhile, with what is collected of earlier tests.
    observers: list[Any] = [*opened.request_observers, *opened.scope_observers]
    assert all(getattr(observer, "__self__", None) is not spans.processor for observer in observers)
