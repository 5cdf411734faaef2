"""Servers that spans are sent to, each a process of its own, and a chat application that sends them."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from hl_sessions import Session, SessionManager
from hl_sessions.carrying import carried, carry
from hl_sessions.integrations.opentelemetry import SessionSpanProcessor
from tests.servers import HL_SESSIONS, served
from tests.waiting import PATIENCE, wait_until

TURNS = ["first", "second"]
SPANS = 2 * len(TURNS) + 1  # that a chat sends


@contextmanager
def running(*command: str, folder: Path, health: str, **variables: str) -> Iterator[None]:
    """Run a program of this environment in a folder, from when it answers at ``health``."""
    program = Path(sys.executable).with_name(command[0])
    log = (folder / "log.txt").open("wb")
    process = subprocess.Popen(
        [program, *command[1:]],
        cwd=folder,
        env=os.environ | variables,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        wait_until(lambda: process.poll() is not None or _answers(health))
        assert process.poll() is None, (folder / "log.txt").read_text()
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # some start others
        process.wait()
        log.close()


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=10):
        return True
    return False


def export_spans(folder: Path) -> str:
    """Write ``spans.jsonl``, an export of a session with two datapoints, and return the session's ID."""
    database = folder / "sessions.sqlite3"
    with (
        served(database) as url,
        SessionManager(url, project="support") as manager,
        manager.session() as session,
    ):
        with manager.datapoint(source="answer", inputs={"question": "Why?"}) as answer:
            manager.log(source="search", output="a text")
            answer.output = "42"
        assert manager.flush(PATIENCE)
        session_id = session.id
    assert session_id is not None
    command = [HL_SESSIONS, "export", "--format", "otlp-json", "--db", database, "spans.jsonl"]
    subprocess.run(command, cwd=folder, check=True)
    return session_id


def chat(manager: SessionManager, url: str, headers: dict[str, str]) -> Session:
    """Send the spans of a conversation: of two requests that ask a model, and of a job of a worker."""
    provider = TracerProvider()
    provider.add_span_processor(SessionSpanProcessor())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces", headers=headers)))
    tracer = provider.get_tracer("chat")
    call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
    for turn in TURNS:
        with (
            tracer.start_as_current_span(turn, kind=SpanKind.SERVER),
            manager.session(key="chat-42") as session,
            tracer.start_as_current_span("chat gpt-4o", kind=SpanKind.CLIENT, attributes=call),
        ):
            assert session.id
            message = carry()
    with tracer.start_as_current_span("job", kind=SpanKind.CONSUMER), carried(message, manager):
        pass
    provider.shutdown()
    return session
