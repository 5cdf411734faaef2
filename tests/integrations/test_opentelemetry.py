"""The session on spans and log records, as an exporter gets them."""

import asyncio
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanKind, StatusCode, Tracer, use_span

from hl_sessions import (
    ConfigurationError,
    Session,
    SessionManager,
    acurrent_session_id,
    bind,
    current_session_id,
)
from hl_sessions.integrations.asgi import HLSessionMiddleware
from hl_sessions.integrations.opentelemetry import SessionLogRecordProcessor, SessionSpanProcessor
from tests.integrations.exported_spans import Spans, exporting_spans
from tests.interpreters import collects_at_once
from tests.sessions_api import Gate, SessionsAPI
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def make_spans() -> Iterator[Callable[..., Spans]]:
    with ExitStack() as made:
        yield lambda *arguments, **options: made.enter_context(exporting_spans(*arguments, **options))


@pytest.fixture
def spans(make_spans: Callable[..., Spans]) -> Spans:
    return make_spans()


@pytest.fixture
def tracer(spans: Spans) -> Tracer:
    return spans.tracer


def attributes_of(span: Any) -> dict[str, Any]:
    """Of a span that is still open."""
    return dict(span.attributes)


def test_a_span_has_the_session_from_its_start(manager: SessionManager, tracer: Tracer) -> None:
    with manager.session() as session:
        session_id = session.id
        with tracer.start_as_current_span("span") as span:
            assert attributes_of(span) == {"session.id": session_id}


@pytest.mark.parametrize("kind", SpanKind)
def test_spans_that_began_before_the_first_read_have_it_at_their_end(
    manager: SessionManager, spans: Spans, kind: SpanKind
) -> None:
    tracer = spans.tracer
    with manager.session() as session:
        with tracer.start_as_current_span("root", kind=kind):
            with tracer.start_as_current_span("before", kind=kind):
                pass
            with tracer.start_as_current_span("reading", kind=kind):
                session_id = session.id
            with tracer.start_as_current_span("after", kind=kind):
                pass
        manual = tracer.start_span("ended after the scope", kind=kind)
    manual.end()
    assert spans.ids() == {
        "root": session_id,
        "before": None,
        "reading": session_id,
        "after": session_id,
        "ended after the scope": session_id,
    }


def test_a_span_keeps_its_other_attributes_its_error_and_its_time(
    manager: SessionManager, spans: Spans
) -> None:
    with manager.session() as session:
        with (
            suppress(ZeroDivisionError),
            spans.tracer.start_as_current_span("failing", attributes={"colour": "red"}),
        ):
            assert session.id
            1 / 0  # noqa: B018 - it fails
        spans.tracer.start_span("timed", start_time=1).end(2)
    failing, timed = spans.ended()
    assert failing.attributes == {"colour": "red", "session.id": session.id}
    assert failing.status.status_code is StatusCode.ERROR
    assert [event.name for event in failing.events] == ["exception"]
    assert (timed.start_time, timed.end_time) == (1, 2)


def test_no_span_makes_a_session(manager: SessionManager, spans: Spans, sessions_api: SessionsAPI) -> None:
    with manager.session(), spans.tracer.start_as_current_span("unread"):
        pass
    assert spans.attributes() == {"unread": {}}
    assert sessions_api.posts == 0


def test_outside_every_scope_there_is_none(manager: SessionManager, spans: Spans) -> None:
    with manager.session() as session:
        assert session.id
    with spans.tracer.start_as_current_span("outside"):
        pass
    assert spans.attributes() == {"outside": {}}


def test_a_span_belongs_to_the_scope_that_it_begins_in(manager: SessionManager, spans: Spans) -> None:
    tracer = spans.tracer
    with manager.session() as outer, tracer.start_as_current_span("outer"):
        with manager.session(new=True) as inner, tracer.start_as_current_span("inner"):
            assert inner.id
        with tracer.start_as_current_span("outer again"):
            assert outer.id
    assert spans.ids() == {"outer": outer.id, "inner": inner.id, "outer again": outer.id}
    assert outer.id != inner.id


def test_threads_and_tasks_of_a_scope_have_its_session(manager: SessionManager, spans: Spans) -> None:
    tracer = spans.tracer

    def work(name: str) -> None:
        with tracer.start_as_current_span(name):
            pass

    async def work_as_task() -> None:
        work("task")

    async def start_task() -> None:
        await asyncio.create_task(work_as_task())

    with manager.session() as session:
        session_id = session.id
        thread = threading.Thread(target=bind(work), args=("thread",))
        thread.start()
        thread.join(PATIENCE)
        asyncio.run(start_task())
    assert spans.ids() == {"thread": session_id, "task": session_id}


def test_simultaneous_tasks_have_each_their_own(manager: SessionManager, spans: Spans) -> None:
    async def answer(name: str) -> str | None:
        async with manager.session() as session:
            with spans.tracer.start_as_current_span(name):
                await asyncio.sleep(0)
                with spans.tracer.start_as_current_span(f"{name}, reading"):
                    return await session.aid()

    async def answer_both() -> list[str | None]:
        return [*await asyncio.gather(answer("one"), answer("other"))]

    one, other = asyncio.run(answer_both())
    assert spans.ids() == {"one": one, "one, reading": one, "other": other, "other, reading": other}


def test_a_span_around_one_scope_has_its_session(manager: SessionManager, spans: Spans) -> None:
    tracer = spans.tracer
    with tracer.start_as_current_span("server", kind=SpanKind.SERVER):
        with tracer.start_as_current_span("ended before"):
            pass
        with tracer.start_as_current_span("middle"), manager.session() as session:
            with manager.session(new=True) as inner:
                assert inner.id
            assert session.id
        with tracer.start_as_current_span("begun after"):
            pass
    assert spans.ids() == {
        "ended before": None,
        "middle": session.id,
        "begun after": None,
        "server": session.id,
    }


def test_a_span_around_a_scope_has_its_session_though_a_wrapper_is_current(
    manager: SessionManager, spans: Spans
) -> None:
    """As that of Logfire, which only hands on calls."""
    span = spans.tracer.start_span("server", kind=SpanKind.SERVER)
    with use_span(NonRecordingSpan(span.get_span_context())), manager.session() as session:
        assert session.id
    span.end()
    assert spans.ids() == {"server": session.id}


@pytest.mark.parametrize("kind", [SpanKind.INTERNAL, SpanKind.CONSUMER])
def test_a_span_around_many_scopes_has_none(manager: SessionManager, spans: Spans, kind: SpanKind) -> None:
    sessions: list[Session] = []
    with spans.tracer.start_as_current_span("batch", kind=kind):
        for number in range(3):
            with spans.tracer.start_as_current_span(f"item {number}"), manager.session() as session:
                assert session.id
                sessions.append(session)
    items = {f"item {number}": session.id for number, session in enumerate(sessions)}
    assert spans.ids() == {"batch": None, **items}


def test_a_server_span_belongs_to_its_request_though_it_began_in_the_session_of_another(
    manager: SessionManager, spans: Spans
) -> None:
    """A server may run a request in a copy of the context of the one before."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with manager.session(new=True) as inner:
            assert await inner.aid()
        seen.append(await acurrent_session_id() if scope["reads"] else None)

    seen: list[str | None] = []
    request: Any = HLSessionMiddleware(app, manager)
    with manager.session() as before:
        assert before.id
        for name, reads in (("reading", True), ("unread", False)):
            with spans.tracer.start_as_current_span(name, kind=SpanKind.SERVER):
                asyncio.run(request({"type": "http", "headers": [], "reads": reads}, None, None))
    assert spans.ids() == {"reading": seen[0], "unread": None}
    assert seen[0] not in (None, before.id)


@collects_at_once
def test_nothing_is_kept_of_a_span_that_has_ended(manager: SessionManager, spans: Spans) -> None:
    with manager.session() as session:
        with spans.tracer.start_as_current_span("reading", kind=SpanKind.SERVER) as span:
            assert session.id
        kept: list[weakref.ref[Any]] = [weakref.ref(session), weakref.ref(span)]
    del session, span
    assert [each() for each in kept] == [None, None]


def test_a_conversation_says_so_and_what_it_was_before(manager: SessionManager, spans: Spans) -> None:
    def chat(turn: str) -> Session:
        with manager.session(key="a person") as session, spans.tracer.start_as_current_span(turn):
            assert session.id
            with spans.tracer.start_as_current_span(f"{turn}, inner"):
                pass
        return session

    first = chat("first")
    chat("same")
    manager.end("a person")
    second = chat("second")
    chat("same again")
    one = {"session.id": first.id, "gen_ai.conversation.id": first.id}
    other = {"session.id": second.id, "gen_ai.conversation.id": second.id}
    assert first.id != second.id
    assert spans.attributes() == {
        "first": one,
        "first, inner": one,
        "same": one,
        "same, inner": one,
        "second": other,
        "second, inner": {**other, "session.previous_id": first.id},  # the first to have the session
        "same again": other,
        "same again, inner": other,
    }


def test_of_more_conversations_than_are_remembered_each_says_that_it_began_anew(
    manager: SessionManager, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hl_sessions.integrations.opentelemetry.MOST_RENEWED", 2)
    for key in ("a", "b", "c"):
        with manager.session(key=key) as first:
            assert first.id
            first.end()
        with manager.session(key=key) as second:
            assert second.id
            for number in (1, 2):
                with spans.tracer.start_as_current_span(f"{key}{number}"):
                    pass
    begun_anew = [name for name, each in spans.attributes().items() if "session.previous_id" in each]
    assert begun_anew == ["a1", "b1", "c1"]


def test_further_names_hold_the_id_too(manager: SessionManager, make_spans: Callable[..., Spans]) -> None:
    names = ["langsmith.metadata.thread_id", "traceloop.association.properties.session_id"]
    spans = make_spans(names=names)
    with manager.session() as session:
        with spans.tracer.start_as_current_span("before"):
            session_id = session.id
        with spans.tracer.start_as_current_span("after"):
            pass
    expected = dict.fromkeys(["session.id", *names], session_id)
    assert spans.attributes() == {"before": expected, "after": expected}


@pytest.mark.parametrize("names", ["langsmith.metadata.thread_id", [""], [None], ["two words"], 1])
def test_what_is_no_name_is_refused(names: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^names"):
        SessionSpanProcessor(names=names)


def test_an_id_that_a_span_has_already_stays(manager: SessionManager, spans: Spans) -> None:
    own = {"session.id": "of another library"}
    with manager.session() as session:
        with spans.tracer.start_as_current_span("before", attributes=own):
            assert session.id
        with spans.tracer.start_as_current_span("after", attributes=own):
            pass
    assert set(spans.ids().values()) == {"of another library"}


@pytest.mark.parametrize(
    "limits",
    [SpanLimits(max_span_attributes=1), SpanLimits(max_span_attribute_length=8)],
    ids=["number", "length"],
)
def test_the_limits_of_the_sdk_hold(
    manager: SessionManager, make_spans: Callable[..., Spans], limits: SpanLimits
) -> None:
    spans = make_spans(limits)
    with manager.session(key="a chat") as session:
        session_id = str(session.id)
        with spans.tracer.start_as_current_span("span"):
            pass
    attributes = spans.attributes()["span"]
    if limits.max_span_attributes == 1:
        assert attributes == {"gen_ai.conversation.id": session_id}  # the last one, as the SDK has it
    else:
        assert set(attributes.values()) == {session_id[:8]}


def test_without_limits_it_is_there_too(manager: SessionManager, make_spans: Callable[..., Spans]) -> None:
    spans = make_spans(SpanLimits(max_attributes=SpanLimits.UNSET, max_span_attributes=SpanLimits.UNSET))
    with manager.session() as session:
        session_id = session.id
        with spans.tracer.start_as_current_span("span"):
            pass
    assert spans.ids() == {"span": session_id}


def test_create_makes_the_session_while_nobody_waits(
    manager: SessionManager, make_spans: Callable[..., Spans], sessions_api: SessionsAPI, gate: Gate
) -> None:
    spans = make_spans(create=True)

    async def answer() -> Session:
        async with manager.session() as session:
            with spans.tracer.start_as_current_span("long"):
                with spans.tracer.start_as_current_span("short"):
                    assert session.peek() is None
                gate.opened.set()
                assert await session.aid() is not None
        return session

    session = asyncio.run(answer())
    assert spans.ids() == {"short": None, "long": session.id}
    assert sessions_api.posts == 1


def test_create_makes_that_of_a_scope_in_a_span_too(
    manager: SessionManager, make_spans: Callable[..., Spans], sessions_api: SessionsAPI
) -> None:
    spans = make_spans(create=True)
    with spans.tracer.start_as_current_span("server", kind=SpanKind.SERVER), manager.session() as session:
        wait_until(session.peek)
    assert spans.ids() == {"server": session.peek()}
    assert sessions_api.posts == 1


def test_of_a_session_that_a_span_creates_the_application_learns(
    make_manager: Callable[..., SessionManager], make_spans: Callable[..., Spans]
) -> None:
    """Once, though nobody reads the ID; a later reader does not learn of it again."""
    created: list[Session] = []
    manager = make_manager(on_created=created.append)
    with manager.session() as session, make_spans(create=True).tracer.start_as_current_span("span"):
        wait_until(lambda: created)
        assert session.id is not None
    assert created == [session]


def test_where_the_api_is_down_spans_are_as_they_would_be_without(
    manager: SessionManager, make_spans: Callable[..., Spans], sessions_api: SessionsAPI
) -> None:
    sessions_api.close()
    spans = make_spans(create=True)
    with manager.session() as session, spans.tracer.start_as_current_span("span"):
        assert session.id is None
    assert spans.attributes() == {"span": {}}


def test_with_prefetch_it_is_there_as_soon_as_it_is_created(
    make_manager: Callable[..., SessionManager], make_spans: Callable[..., Spans]
) -> None:
    manager = make_manager(prefetch=1)
    ready = manager.ready_sessions
    assert ready is not None
    with manager.session() as session:
        assert session.id  # from now on some are kept ready
    wait_until(lambda: ready.ready)
    spans = make_spans()
    with manager.session() as session, spans.tracer.start_as_current_span("span") as span:
        assert attributes_of(span) == {}  # what is ready belongs to nobody yet
    spans = make_spans(create=True)
    with manager.session() as session, spans.tracer.start_as_current_span("span") as span:
        assert attributes_of(span) == {"session.id": session.peek()}


def test_after_the_shutdown_spans_around_scopes_have_none(
    manager: SessionManager, make_spans: Callable[..., Spans]
) -> None:
    spans = make_spans()
    with spans.tracer.start_as_current_span("server", kind=SpanKind.SERVER) as span:
        spans.provider.shutdown()
        with manager.session() as session:
            assert session.id
        assert attributes_of(span) == {}


def test_spans_of_a_provider_without_the_processor_are_left_alone(
    manager: SessionManager, spans: Spans
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("other").start_as_current_span("other"), manager.session() as session:
        assert session.id
    (span,) = exporter.get_finished_spans()
    assert span.attributes == {}
    assert spans.ended() == []


@contextmanager
def exported_logs() -> Iterator[tuple[logging.Logger, list[Any]]]:
    """A logger with OpenTelemetry's handler, and the records that are exported."""
    from opentelemetry.sdk._logs import LoggingHandler
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

    exporter: Any = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SessionLogRecordProcessor())
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    handler = LoggingHandler(logger_provider=provider)
    logger = logging.getLogger("tests.opentelemetry")
    logger.addHandler(handler)
    exported: list[Any] = []
    try:
        yield logger, exported
    finally:
        logger.removeHandler(handler)
        exported += exporter.get_finished_logs()
        provider.shutdown()


# There is another handler by now, which hands on the same records.
@pytest.mark.filterwarnings("ignore:`LoggingHandler` in `opentelemetry-sdk` is deprecated")
def test_log_records_have_the_session_once_it_is_known(manager: SessionManager) -> None:
    with exported_logs() as (logger, exported):
        logger.warning("outside")
        with manager.session():
            logger.warning("unread")
            session_id = current_session_id()
            logger.warning("read")
            logger.warning("own", extra={"session.id": "of another library"})
    ids = {each.log_record.body: each.log_record.attributes.get("session.id") for each in exported}
    assert ids == {"outside": None, "unread": None, "read": session_id, "own": "of another library"}
