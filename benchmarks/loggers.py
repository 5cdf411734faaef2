"""Ways to log a datapoint: ours, those of other libraries as they are published, and a request for each."""

from __future__ import annotations

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Protocol

import requests

from benchmarks.neighbours import OPENTELEMETRY, installed
from hl_sessions import current_session

if TYPE_CHECKING:
    from hl_sessions import SessionManager

__all__ = [
    "LANGFUSE",
    "REQUESTS",
    "Content",
    "Logger",
    "Ours",
    "RequestsPost",
    "content",
    "dropping",
    "sending",
]

LANGFUSE = "langfuse"
REQUESTS = "requests.post"
PROJECT = "benchmark"
SOURCE = "answer"
MODEL = "gpt-4"
TEMPERATURE = 0.5
USER = "somebody"
SESSION = "sesh_AAAAAAAAAAAAAAAAAAAAAAAA"
_QUESTION = "Why is the sky blue, and why is the grass green? "
_ANSWER = "Because light of short waves is scattered more. "


@dataclass(frozen=True)
class Content:
    """A question and its answer."""

    question: str
    answer: str

    def fields(self) -> dict[str, Any]:
        """Return the fields of a datapoint."""
        return {**self.fields_at_beginning(), "output": self.answer}

    def fields_at_beginning(self) -> dict[str, Any]:
        """Return those that are known before there is an answer."""
        return {
            "project": PROJECT,
            "source": SOURCE,
            "inputs": {"question": self.question},
            "config": {"type": "model", "model": MODEL, "temperature": TEMPERATURE},
            "metadata": {"user": USER},
        }

    def attributes(self) -> dict[str, Any]:
        """Return the fields at the beginning as attributes of a span."""
        return {
            "project": PROJECT,
            "session.id": SESSION,
            "input.value": self.question,
            "llm.model_name": MODEL,
            "llm.temperature": TEMPERATURE,
            "user.id": USER,
        }


def content(size: int) -> Content:
    """Return the content of a datapoint of about so many bytes of JSON, in new strings."""
    half = (size - 200) // 2  # besides the names and what is short
    return Content(*((text * (half // len(text) + 1))[:half] for text in (_QUESTION, _ANSWER)))


class Logger(Protocol):
    """A way to log."""

    def log(self, content: Content) -> object:
        """Log a datapoint that is complete."""

    def flush(self) -> object:
        """Wait until all are sent."""


class Ours:
    """Logs with ``log()``, and with ``with datapoint(...)``."""

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager

    def log(self, content: Content) -> object:
        """Log a datapoint that is complete."""
        return self._manager.log(
            project=PROJECT,
            source=SOURCE,
            inputs={"question": content.question},
            config={"type": "model", "model": MODEL, "temperature": TEMPERATURE},
            metadata={"user": USER},
            output=content.answer,
        )

    def log_block(self, content: Content) -> None:
        """Log one that gets its output within the block."""
        with self._manager.datapoint(
            project=PROJECT,
            source=SOURCE,
            inputs={"question": content.question},
            config={"type": "model", "model": MODEL, "temperature": TEMPERATURE},
            metadata={"user": USER},
        ) as datapoint:
            datapoint.output = content.answer

    def flush(self) -> object:
        """Wait until all are sent."""
        return self._manager.flush(60)


class RequestsPost:
    """Sends each datapoint by a request that is waited for, as is first written."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v4/logs"

    def log(self, content: Content) -> object:
        """Send a datapoint."""
        session = current_session()
        params = {} if session is None else session.log_params()
        return requests.post(self._url, json=content.fields() | params, timeout=5)

    def flush(self) -> object:
        """Wait for nothing: it is sent."""
        return None


class _OpenTelemetry:
    """Starts and ends spans with the same attributes."""

    def __init__(self, exporter: Any) -> None:
        self._provider = resolve_name("opentelemetry.sdk.trace:TracerProvider")()
        processor = resolve_name("opentelemetry.sdk.trace.export:BatchSpanProcessor")(exporter)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("benchmark")

    def log(self, content: Content) -> object:
        attributes = content.attributes()
        attributes["output.value"] = content.answer
        return self._tracer.start_span(SOURCE, attributes=attributes).end()

    def log_block(self, content: Content) -> None:
        with self._tracer.start_as_current_span(SOURCE, attributes=content.attributes()) as span:
            span.set_attribute("output.value", content.answer)

    def flush(self) -> object:
        return self._provider.force_flush()


class _Langfuse:
    """Starts and ends generations."""

    def __init__(self, **options: Any) -> None:
        self._client = resolve_name("langfuse:Langfuse")(
            public_key="benchmark",
            secret_key="benchmark",
            tracer_provider=resolve_name("opentelemetry.sdk.trace:TracerProvider")(),
            **options,
        )

    def log(self, content: Content) -> object:
        return self._client.start_observation(
            as_type="generation",
            name=SOURCE,
            input={"question": content.question},
            model=MODEL,
            model_parameters={"temperature": TEMPERATURE},
            metadata={"user": USER},
            output=content.answer,
        ).end()

    def log_block(self, content: Content) -> None:
        with self._client.start_as_current_observation(
            as_type="generation",
            name=SOURCE,
            input={"question": content.question},
            model=MODEL,
            model_parameters={"temperature": TEMPERATURE},
            metadata={"user": USER},
        ) as generation:
            generation.update(output=content.answer)

    def flush(self) -> object:
        return self._client.flush()


class _Drop:
    """An exporter that takes no time."""

    def __init__(self) -> None:
        self._success = resolve_name("opentelemetry.sdk.trace.export:SpanExportResult").SUCCESS

    def export(self, _spans: object) -> Any:
        return self._success

    def force_flush(self, _timeout_millis: int = 30_000) -> bool:
        return True

    def shutdown(self) -> None:
        pass


def dropping() -> dict[str, _OpenTelemetry | _Langfuse]:
    """Make the other installed loggers, which drop their spans."""
    return installed(
        {OPENTELEMETRY: lambda: _OpenTelemetry(_Drop()), LANGFUSE: lambda: _Langfuse(span_exporter=_Drop())}
    )


def sending(url: str) -> dict[str, Logger]:
    """Make the other installed loggers, which send their spans as by default."""

    def opentelemetry() -> Logger:
        exporter = resolve_name("opentelemetry.exporter.otlp.proto.http.trace_exporter:OTLPSpanExporter")
        return _OpenTelemetry(exporter(endpoint=f"{url}/v1/traces"))

    return installed({OPENTELEMETRY: opentelemetry, LANGFUSE: lambda: _Langfuse(base_url=url)})
