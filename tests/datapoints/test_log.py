"""``log`` returns at once, and what it was given is stored once, in the session that was current."""

import array
import asyncio
import contextvars
import functools
import gc
import logging
import signal
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pytest
import trio
import trio.testing

from hl_sessions import ConfigurationError, SessionManager, bind, configure, datapoint, flush, log
from hl_sessions.carrying import carried, carry
from hl_sessions.datapoints import sender
from hl_sessions.process.seldom import Seldom
from tests.datapoints.conftest import Stored
from tests.datapoints.test_values import nested
from tests.forking import exit_code_of_child, forks
from tests.sessions_api import (
    Answer,
    Gate,
    Request,
    SessionsAPI,
    create_sessions_and_logs,
    new_session_id,
    stored_logs,
)
from tests.waiting import PATIENCE, in_threads, wait_until


@dataclass
class Metadata:
    model: str


def test_a_datapoint_belongs_to_the_session_that_is_current(
    logging_manager: SessionManager, stored: Stored
) -> None:
    """The session is created for it, as its ID was not read."""
    with logging_manager.session() as session:
        reference_id = logging_manager.log(source="moderation", inputs={"text": "hello"}, output="fine")
        assert session.peek() is None
    assert logging_manager.flush(PATIENCE)
    found = stored.only()
    assert found["session_id"] == session.peek()
    assert (found["source"], found["inputs"], found["output"]) == ("moderation", {"text": "hello"}, "fine")
    assert found["reference_id"] == reference_id


def test_a_session_that_was_read_is_the_one(logging_manager: SessionManager, stored: Stored) -> None:
    with logging_manager.session() as session:
        session_id = session.id
        logging_manager.log(source="answer")
    assert logging_manager.flush(PATIENCE)
    assert stored.only()["session_id"] == session_id


def test_without_a_scope_there_is_no_session(logging_manager: SessionManager, stored: Stored) -> None:
    logging_manager.log(source="answer")
    assert logging_manager.flush(PATIENCE)
    assert "session_id" not in stored.only()


def test_one_session_for_readers_and_datapoints(
    sessions_api: SessionsAPI, make_manager: Callable[..., SessionManager]
) -> None:
    """A reader that comes while the session is created for a datapoint waits for the same creation."""
    sessions_api.answer = create_sessions_and_logs
    gate = Gate(sessions_api)
    manager = make_manager(project="p")
    with manager.session() as session:
        manager.log(source="answer")
        wait_until(lambda: sessions_api.posts)
        readers = in_threads(lambda: session.id, 3)
        gate.opened.set()
        assert {reader.result(PATIENCE) for reader in readers} == {session.peek()}
    assert [request.target for request in sessions_api.requests if request.target.endswith("/sessions")] == [
        "/v4/sessions"
    ]


def test_what_is_given_is_fixed_at_the_call(logging_manager: SessionManager, stored: Stored) -> None:
    inputs = {"questions": ["first"]}
    logging_manager.log(source="answer", inputs=inputs)
    inputs["questions"].append("second")
    assert logging_manager.flush(PATIENCE)
    assert stored.only()["inputs"] == {"questions": ["first"]}


def test_values_of_other_types_are_what_a_person_expects(
    logging_manager: SessionManager, stored: Stored, records: list[logging.LogRecord]
) -> None:
    """Also those that are bytes in memory. The moment is that of the call, as always."""
    numpy = pytest.importorskip("numpy")
    before = datetime.now(timezone.utc)
    inputs = {
        "vector": numpy.array([1.5, 2.5]),
        "numbers": [numpy.int64(3), array.array("i", [1, 2])],
        "counts": {numpy.int64(7): numpy.float32(0.5)},
        "days": {before.date(): [{uuid.UUID(int=1): None}]},
    }
    logging_manager.log(source="answer", inputs=inputs, prompt_tokens=numpy.int64(4))
    after = datetime.now(timezone.utc)
    assert logging_manager.flush(PATIENCE)
    found = stored.only()
    assert found["inputs"] == {
        "vector": [1.5, 2.5],
        "numbers": [3, [1, 2]],
        "counts": {"7": 0.5},
        "days": {before.date().isoformat(): [{str(uuid.UUID(int=1)): None}]},
    }
    assert found["prompt_tokens"] == 4
    assert before <= datetime.fromisoformat(found["created_at"].replace("Z", "+00:00")) <= after
    assert not records


def test_the_functions_log_by_the_manager_of_the_scope(
    make_logging_manager: Callable[..., SessionManager], stored: Stored
) -> None:
    """Outside every scope by the default one."""
    manager = make_logging_manager()
    default = configure(stored.base_url, project=stored.project)
    with manager.session() as session:
        log(source="in the scope")
        with datapoint(source="open"):
            pass
    log(source="outside")
    assert flush(PATIENCE)
    found = stored.by_source()
    assert found["in the scope"]["session_id"] == found["open"]["session_id"] == session.peek()
    assert "session_id" not in found["outside"]
    default.close()


def test_a_manager_logs_into_its_own_session(
    make_logging_manager: Callable[..., SessionManager], stored: Stored
) -> None:
    """Also inside of a scope of another one."""
    manager, other = make_logging_manager(), make_logging_manager()
    with manager.session() as session, other.session() as inner:
        manager.log(source="outer")
        other.log(source="inner")
    assert manager.flush(PATIENCE)
    assert other.flush(PATIENCE)
    found = stored.by_source()
    assert found["outer"]["session_id"] == session.peek()
    assert found["inner"]["session_id"] == inner.peek()


def test_datapoints_are_nested_under_the_open_one(logging_manager: SessionManager, stored: Stored) -> None:
    """The innermost one, in threads and tasks as well; one of another session is no parent."""

    async def in_a_task() -> None:
        logging_manager.log(source="task")

    with logging_manager.session(), logging_manager.datapoint(source="outer"):
        with logging_manager.datapoint(source="inner"):
            logging_manager.log(source="leaf")
            thread = threading.Thread(target=bind(lambda: logging_manager.log(source="thread")))
            thread.start()
            thread.join()
            asyncio.run(in_a_task())
            with logging_manager.session(new=True):
                logging_manager.log(source="elsewhere")
        logging_manager.log(source="after")
    assert logging_manager.flush(PATIENCE)
    found = stored.by_source()
    parents = {
        source: next((name for name, other in found.items() if other["id"] == log.get("parent_id")), None)
        for source, log in found.items()
    }
    assert parents == {
        "outer": None,
        "inner": "outer",
        "leaf": "inner",
        "thread": "inner",
        "task": "inner",
        "elsewhere": None,
        "after": "outer",
    }
    assert len({log["session_id"] for log in found.values()}) == 2


def test_the_datapoint_that_a_message_names_is_sent_at_once(
    make_logging_manager: Callable[..., SessionManager], stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver may log under it before a batch has gathered here."""
    monkeypatch.setattr(sender, "INTERVAL", 10 * PATIENCE)
    sending, receiving = make_logging_manager(), make_logging_manager()
    with sending.session(), sending.datapoint(source="outer") as outer:
        message = carry()
        wait_until(stored.datapoints)
        with carried(message, receiving):
            receiving.log(source="inner")
            assert receiving.flush(PATIENCE)
    assert stored.by_source()["inner"]["parent_reference_id"] == outer.reference_id


@pytest.mark.parametrize("is_on_its_way", [True, False])
def test_a_job_waits_a_moment_for_the_datapoint_of_its_sender(
    sessions_api: SessionsAPI, make_manager: Callable[..., SessionManager], *, is_on_its_way: bool
) -> None:
    """Which another process sends; a job whose parent never comes is stored without."""
    refusal = {"loc": ["body", 0, "parent_reference_id"], "msg": "There is no such datapoint"}
    most = 1 if is_on_its_way else 2

    def answer(request: Request) -> Answer:
        if len(stored_logs(sessions_api)) <= 2 * most:
            return Answer(422, {"detail": [refusal]})
        return create_sessions_and_logs(request)

    sessions_api.answer = answer
    manager = make_manager(project="p")
    with carried({"session_id": new_session_id(), "parent_reference_id": "outer"}, manager):
        manager.log(source="first")
        manager.log(source="second")
    assert manager.flush(PATIENCE)
    parents = [log.get("parent_reference_id") for log in stored_logs(sessions_api)]
    assert parents == ["outer"] * 4 + ([] if is_on_its_way else [None, "outer"])


def test_a_datapoint_is_completed_when_it_ends(
    make_logging_manager: Callable[..., SessionManager], stored: Stored
) -> None:
    """Also where it was sent before that: what is set on it, and how long it took."""
    manager = make_logging_manager()
    with manager.session(), manager.datapoint(source="answer", inputs={"question": "?"}) as answer:
        assert manager.flush(PATIENCE)
        assert "output" not in stored.only()
        answer.output = "42"
        answer.prompt_tokens = 7
    assert manager.flush(PATIENCE)
    found = stored.only()
    assert (found["inputs"], found["output"], found["prompt_tokens"]) == ({"question": "?"}, "42", 7)
    assert found["duration"] > 0


def test_what_is_given_too_late_is_named(
    logging_manager: SessionManager, stored: Stored, records: list[logging.LogRecord]
) -> None:
    """The API has the beginning, and changes only some of it. What is not to be saved is not sent."""
    with logging_manager.datapoint(source="answer") as answer:
        assert logging_manager.flush(PATIENCE)
        answer.environment = "production"
        answer.save = False
        answer.output = "a secret"
        answer.prompt_tokens = 7
    assert logging_manager.flush(PATIENCE)
    found = stored.only()
    assert found["prompt_tokens"] == 7
    assert "output" not in found
    [record] = records
    assert "environment, save" in record.getMessage()


def test_what_is_set_after_the_end_is_named(
    logging_manager: SessionManager, stored: Stored, records: list[Any]
) -> None:
    """As by a line that stands one level too far to the left; the datapoint stays as it was."""
    with logging_manager.datapoint(source="answer", output="42") as answer:
        pass
    answer.output = "43"
    answer.add_output("44")
    assert logging_manager.flush(PATIENCE)
    assert stored.only()["output"] == "42"
    assert [record.getMessage() for record in records] == [
        "output was set on a datapoint that has ended: it is lost",
        "output was added to a datapoint that has ended or has not begun: it is lost",
    ]


def test_many_open_datapoints_are_completed_together(
    logging_manager: SessionManager, stored: Stored, records: list[Any]
) -> None:
    """With all that they hold by then, which may be more than one answer does."""
    inputs = {"text": "x" * 20_000}
    opened = [logging_manager.datapoint(source=str(number), inputs=inputs) for number in range(100)]
    for each in opened:
        each.__enter__()
    assert logging_manager.flush(PATIENCE)
    for each in reversed(opened):
        each.output = "done"
        each.__exit__(None, None, None)
    assert logging_manager.flush(PATIENCE)
    assert [log["output"] for log in stored.datapoints()] == ["done"] * 100
    assert not records


def test_an_exception_becomes_the_error_and_goes_on(logging_manager: SessionManager, stored: Stored) -> None:
    with pytest.raises(ValueError, match="of no use"), logging_manager.datapoint(source="answer"):
        raise ValueError("of no use")
    assert logging_manager.flush(PATIENCE)
    assert stored.only()["error"] == "ValueError: of no use"


def test_a_cancelled_task_is_an_error(logging_manager: SessionManager, stored: Stored) -> None:
    async def answer(begun: asyncio.Event) -> None:
        async with logging_manager.datapoint(source="answer"):
            begun.set()
            await asyncio.Event().wait()

    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(answer(begun))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert logging_manager.flush(PATIENCE)
    assert stored.only()["error"] == "cancelled"


@pytest.mark.parametrize("failing", [False, True])
def test_a_cancelled_nursery_is_cancelled(
    logging_manager: SessionManager, stored: Stored, *, failing: bool
) -> None:
    """Trio raises a group; with another exception in it, it is that group."""

    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            if failing:
                raise ValueError("wrong")

    async def main() -> None:
        with trio.CancelScope() as scope, logging_manager.datapoint(source="answer"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(fail)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()

    with suppress(Exception):
        trio.run(main)
    assert logging_manager.flush(PATIENCE)
    assert (stored.only()["error"] == "cancelled") is not failing


def test_a_decorated_function_is_a_datapoint_each_time(
    logging_manager: SessionManager, stored: Stored
) -> None:
    """Its arguments are the inputs and its result the output."""

    @logging_manager.datapoint(source="add")
    def add(first: int, second: int = 2) -> str:
        logging_manager.log(source="inside")
        return str(first + second)

    class Adder:
        @logging_manager.datapoint(source="method")
        async def add(self, first: int, *, second: int) -> str:
            return str(first + second)

    assert add(1) == "3"
    assert asyncio.run(Adder().add(1, second=3)) == "4"
    assert logging_manager.flush(PATIENCE)
    found = stored.by_source()
    assert (found["add"]["inputs"], found["add"]["output"]) == ({"first": 1}, "3")
    assert (found["method"]["inputs"], found["method"]["output"]) == ({"first": 1, "second": 3}, "4")
    assert found["inside"]["parent_id"] == found["add"]["id"]


def test_the_instance_and_the_class_are_no_inputs(logging_manager: SessionManager, stored: Stored) -> None:
    """Also where the decorator above passes them to a plain function."""

    class Shop:
        @property
        @logging_manager.datapoint(source="property")
        def answer(self) -> str:
            return "42"

        @functools.cached_property
        @logging_manager.datapoint(source="cached property")
        def question(self) -> str:
            return "Why?"

        @classmethod
        @logging_manager.datapoint(source="class method")
        def make(cls, name: str) -> str:
            return name

    @logging_manager.datapoint(source="function")
    def label(cls: str, text: str) -> str:
        return cls + text

    shop = Shop()
    assert (shop.answer, shop.question, shop.make("corner")) == ("42", "Why?", "corner")
    assert label("A", "Why?") == "AWhy?"
    assert logging_manager.flush(PATIENCE)
    assert {source: found.get("inputs", {}) for source, found in stored.by_source().items()} == {
        "property": {},
        "cached property": {},
        "class method": {"name": "corner"},
        "function": {"cls": "A", "text": "Why?"},
    }


def test_a_generator_is_a_datapoint_until_it_ends(logging_manager: SessionManager, stored: Stored) -> None:
    """The yielded values are its output; its consumer is outside of it."""

    @logging_manager.datapoint(source="sync")
    def stream(question: str) -> Iterator[str]:
        for word in ("forty", "-", "two"):
            logging_manager.log(source=f"in sync {word}")
            yield word

    @logging_manager.datapoint(source="async")
    async def astream() -> AsyncIterator[str]:
        yield "4"
        yield "2"
        raise RuntimeError("it broke")

    async def consume() -> None:
        async for number in astream():
            logging_manager.log(source=f"beside {number}")

    with logging_manager.session():
        for word in stream("?"):
            logging_manager.log(source=f"beside {word}")
        with pytest.raises(RuntimeError, match="broke"):
            asyncio.run(consume())
    assert logging_manager.flush(PATIENCE)
    found = stored.by_source()
    assert (found["sync"]["inputs"], found["sync"]["output"]) == ({"question": "?"}, "forty-two")
    assert 0 <= found["sync"]["metadata"]["time_to_first_output"] <= found["sync"]["duration"]
    assert (found["async"]["output"], found["async"]["error"]) == ("42", "RuntimeError: it broke")
    assert {log.get("parent_id") for source, log in found.items() if "in sync" in source} == {
        found["sync"]["id"]
    }
    assert {log.get("parent_id") for source, log in found.items() if "beside" in source} == {None}


def test_a_stream_that_a_function_returns_is_its_datapoint(
    logging_manager: SessionManager, stored: Stored
) -> None:
    """Of a coroutine function, too, which has asked a model for it."""

    async def words() -> AsyncIterator[str]:
        logging_manager.log(source="inside")
        yield "forty-"
        yield "two"

    @logging_manager.datapoint(source="sync")
    def stream() -> AsyncIterator[str]:
        return words()

    @logging_manager.datapoint(source="async")
    async def astream() -> AsyncIterator[str]:
        await asyncio.sleep(0)
        return words()

    async def main() -> None:
        assert [word async for word in stream()] == ["forty-", "two"]
        assert [word async for word in await astream()] == ["forty-", "two"]

    asyncio.run(main())
    assert logging_manager.flush(PATIENCE)
    logs = {log["source"]: log for log in stored.datapoints() if log["source"] != "inside"}
    assert {source: log["output"] for source, log in logs.items()} == {
        "sync": "forty-two",
        "async": "forty-two",
    }
    inside = [log["parent_id"] for log in stored.datapoints() if log["source"] == "inside"]
    assert sorted(inside) == sorted(log["id"] for log in logs.values())


def test_a_generator_that_is_left_early_ends(logging_manager: SessionManager, stored: Stored) -> None:
    """Without an error, as its consumer has stopped. A generator that was never begun is no datapoint."""

    @logging_manager.datapoint(source="stream")
    def stream() -> Generator[str, None, None]:
        yield "one"
        yield "two"

    stream()
    begun = stream()
    next(begun)
    begun.close()
    assert logging_manager.flush(PATIENCE)
    assert stored.only()["output"] == "one"
    assert "error" not in stored.only()


def test_output_can_be_told_piece_by_piece(logging_manager: SessionManager, stored: Stored) -> None:
    with logging_manager.datapoint(source="answer", metadata={"model": "x"}) as answer:
        answer.add_output(None)  # the content of the first and the last chunk of some streams
        answer.add_output("forty-")
        answer.add_output("two")
    assert logging_manager.flush(PATIENCE)
    found = stored.only()
    assert found["output"] == "forty-two"
    assert found["metadata"]["model"] == "x"
    assert found["metadata"]["time_to_first_output"] >= 0


def test_what_was_not_set_cannot_be_read(logging_manager: SessionManager, stored: Stored) -> None:
    """As by the obvious way to stream, which has a method of its own."""
    with logging_manager.datapoint(source="answer") as answer:
        with pytest.raises(AttributeError, match=r"^'output' has not been set .*; add_output\(\.\.\.\) adds"):
            answer.output += "forty-"
        with pytest.raises(AttributeError, match=r"^'inputs' has not been set on this datapoint$"):
            answer.inputs["a"] = 1
        answer.output = "forty-"
        answer.output += "two"
    assert logging_manager.flush(PATIENCE)
    assert stored.only()["output"] == "forty-two"


def test_pieces_of_an_output_come_after_what_was_set(
    logging_manager: SessionManager, stored: Stored, records: list[Any]
) -> None:
    """Any object is a piece; what comes too late is said to be lost."""
    with logging_manager.datapoint(source="answer") as answer:
        answer.output = "forty"
        answer.add_output(b"-two ")
        answer.add_output(42)
    answer.add_output("later")
    assert logging_manager.flush(PATIENCE)
    assert stored.only()["output"] == "forty-two 42"
    [record] = records
    assert "ended" in record.getMessage()


def test_objects_that_raise_are_no_pieces_and_stop_no_stream(
    logging_manager: SessionManager, stored: Stored
) -> None:
    """Such as a proxy of a request that is over, or a dict with an array for which == is no truth value."""

    class Proxy:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("there is no request")

    class Array:
        def __eq__(self, other: object) -> Any:
            return self

        def __bool__(self) -> bool:
            raise ValueError("it has no truth value")

        __hash__ = None  # type: ignore[assignment]

    yielded = [Proxy(), {"object": Array()}, "one"]

    @logging_manager.datapoint(source="stream")
    def stream() -> Iterator[Any]:
        yield from yielded

    assert list(stream()) == yielded
    with logging_manager.datapoint(source="answer") as answer:
        for piece in yielded:
            answer.add_output(piece)
    assert logging_manager.flush(PATIENCE)
    found = stored.by_source()
    assert found["stream"]["output"] == "one"
    assert found["answer"]["output"].endswith("one")


def test_the_time_to_the_first_output_is_added_to_metadata_of_any_type(
    logging_manager: SessionManager, stored: Stored, records: list[Any]
) -> None:
    for source, metadata in {"object": Metadata("x"), "text": "x", "none": None}.items():
        with logging_manager.datapoint(source=source) as answer:
            answer.metadata = metadata
            answer.add_output("42")
    assert logging_manager.flush(PATIENCE)
    found = stored.by_source()
    assert found["object"]["metadata"]["model"] == "x"
    assert all("time_to_first_output" in datapoint["metadata"] for datapoint in found.values())
    [record] = records
    assert "metadata must be an object (dict), not str" in record.getMessage()


def test_a_stream_of_a_model_tells_its_tokens_and_calls_too(
    logging_manager: SessionManager, stored: Stored
) -> None:
    """As far as its chunks have them."""
    chunk = {"object": "chat.completion.chunk", "model": "large-1", "choices": []}
    delta = {"index": 0, "delta": {"content": "42"}}
    with logging_manager.datapoint(source="answer") as answer:
        answer.add_output({**chunk, "choices": [delta]})
        call = {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": "{}"}}
        answer.add_output({**chunk, "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
        answer.add_output({**chunk, "usage": {"prompt_tokens": 7, "completion_tokens": 1}})
    assert logging_manager.flush(PATIENCE)
    found = stored.only()
    assert (found["output"], found["prompt_tokens"], found["output_tokens"]) == ("42", 7, 1)
    assert found["config"]["model"] == "large-1"
    [stored_call] = found["output_message"]["tool_calls"]
    assert stored_call["function"] == {"name": "look", "arguments": "{}"}
    assert found["output_message"]["content"] == "42"


def test_a_bare_decorator_logs_by_the_manager_of_the_scope(
    logging_manager: SessionManager, stored: Stored
) -> None:
    @datapoint
    def answer(question: str) -> str:
        return "42"

    with logging_manager.session():
        answer("?")
    assert logging_manager.flush(PATIENCE)
    assert (stored.only()["inputs"], stored.only()["output"]) == ({"question": "?"}, "42")


def test_fields_that_the_api_does_not_keep_are_named(
    logging_manager: SessionManager, stored: Stored, records: list[Any]
) -> None:
    """A misspelt one is not lost in silence. All others are kept."""
    logging_manager.log(source="answer", colour="red", ouput="42", prompt_tokens=7)  # type: ignore[call-arg]
    assert logging_manager.flush(PATIENCE)
    wait_until(lambda: records)
    assert records[0].getMessage().endswith(": colour, ouput (did you mean output?)")
    assert stored.only()["prompt_tokens"] == 7


def test_without_a_project_nothing_is_logged(
    make_logging_manager: Callable[..., SessionManager], stored: Stored, records: list[Any]
) -> None:
    manager = make_logging_manager(project=None)
    for _ in range(3):
        manager.log(source="answer")
        with manager.datapoint(source="answer"):
            pass
    assert manager.flush(PATIENCE)
    assert [record.levelname for record in records] == ["WARNING"]
    assert "project" in records[0].getMessage()
    strict = make_logging_manager(project=None, on_error="raise")
    with pytest.raises(ConfigurationError, match="project"):
        strict.log(source="answer")


def test_a_refused_datapoint_does_not_take_others_along(
    logging_manager: SessionManager, stored: Stored, records: list[Any]
) -> None:
    """One warning names the field and the reason of the API, and it is never tried again."""
    logging_manager.log(source="first")
    logging_manager.log(source="wrong", parent_id="data_of_nobody")
    logging_manager.log(source="last")
    assert logging_manager.flush(PATIENCE)
    assert list(stored.by_source()) == ["first", "last"]
    [record] = records
    assert record.levelname == "WARNING"
    assert "parent_id" in record.getMessage()
    assert "no such datapoint" in record.getMessage()


class ApplicationError(Exception):
    """What is none of a library's."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("raised", [ApplicationError, SystemExit])
def test_a_logging_handler_that_raises_stops_no_datapoints(
    logging_manager: SessionManager, stored: Stored, raised: type[BaseException]
) -> None:
    has_raised = threading.Event()

    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            has_raised.set()
            raise raised

    handler = Raising()
    logger = logging.getLogger("hl_sessions")
    logger.addHandler(handler)
    try:
        logging_manager.log(source="refused", parent_id="data_of_nobody")
        assert has_raised.wait(PATIENCE)
    finally:
        logger.removeHandler(handler)
    logging_manager.log(source="next")
    assert logging_manager.flush(PATIENCE)
    assert stored.only()["source"] == "next"


def test_a_project_may_be_any_object(logging_manager: SessionManager, records: list[Any]) -> None:
    """One that has no truth value raises nothing into the application; it is none, and that is said."""

    class Doubtful:
        def __bool__(self) -> bool:
            raise ValueError

    logging_manager.log(source="answer", project=Doubtful())  # type: ignore[arg-type]
    assert logging_manager.flush(PATIENCE)
    wait_until(lambda: records)
    assert "project" in records[0].getMessage()


def test_what_is_nested_under_a_refused_datapoint_is_stored(
    logging_manager: SessionManager, stored: Stored, records: list[Any]
) -> None:
    """Outside of it: better than not at all. Of the refused one nothing more is said at its end."""
    with logging_manager.datapoint(source="refused", parent_id="data_of_nobody") as refused:
        logging_manager.log(source="inside")
        assert logging_manager.flush(PATIENCE)
        refused.output = "42"
    assert logging_manager.flush(PATIENCE)
    assert list(stored.by_source()) == ["inside"]
    assert "parent_id" not in stored.only()
    [record] = records
    assert "parent_id" in record.getMessage()


def test_a_value_that_json_does_not_know_is_named_by_its_place(
    logging_manager: SessionManager, stored: Stored, records: list[Any]
) -> None:
    logging_manager.log(source="answer", inputs={"scores": [0.5, float("nan")]}, output="42")
    assert logging_manager.flush(PATIENCE)
    assert stored.only()["inputs"] == {"scores": [0.5, None]}
    wait_until(lambda: records)
    assert "inputs.scores[1]" in records[0].getMessage()


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="the server runs on CPython")
def test_what_is_nested_too_deeply_is_cut_and_the_rest_stored(
    logging_manager: SessionManager, stored: Stored, records: list[Any]
) -> None:
    """Also that of plain lists, which need no conversion, and that of a session."""
    with logging_manager.session() as session:
        session.set(name="deep", metadata={"deep": nested(300)})
        logging_manager.log(source="answer", inputs={"deep": nested(300)}, output="42")
    assert logging_manager.flush(PATIENCE)
    assert stored.only()["output"] == "42"
    assert stored.get(f"/sessions/{session.id}")["name"] == "deep"
    wait_until(lambda: len(records) == 2)
    for record, place in zip(records, ("metadata.deep[0]", "inputs.deep[0]"), strict=True):
        assert place in record.getMessage()
        assert "is nested too deeply" in record.getMessage()


def test_a_datapoint_that_is_not_used_is_told_of(
    make_logging_manager: Callable[..., SessionManager], records: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was taken for log(). All uses are uses, those that fail included."""
    monkeypatch.setattr("hl_sessions.datapoints.datapoint._unused", Seldom())
    manager = make_logging_manager(on_error="raise")

    @manager.datapoint(source="decorator")
    def answer() -> str:
        return "42"

    answer()
    with ExitStack() as stack:
        stack.enter_context(manager.datapoint(source="stack"))
    with suppress(ConfigurationError), manager.datapoint(project=""):
        pass
    with suppress(TypeError):
        manager.datapoint()(str)
    with suppress(TypeError), manager.datapoint(source="copy") as opened:
        deepcopy(opened)
    gc.collect()
    assert not records
    manager.datapoint(source="answer", output="42")
    gc.collect()
    [record] = records
    assert (record.levelname, "not used" in record.getMessage()) == ("WARNING", True)


def test_a_datapoint_is_entered_once(logging_manager: SessionManager) -> None:
    opened = logging_manager.datapoint(source="answer")
    assert "answer" in repr(opened)
    with opened, pytest.raises(RuntimeError, match="once"), opened:
        pass


def test_a_stream_may_be_closed_in_another_context(logging_manager: SessionManager, stored: Stored) -> None:
    """As frameworks do that run its steps in threads; what comes afterwards is not nested under it."""

    def stream() -> Generator[str, None, None]:
        with logging_manager.datapoint(source="stream"):
            yield "one"
            yield "two"

    steps = stream()
    next(steps)
    contextvars.copy_context().run(steps.close)
    logging_manager.log(source="after")
    assert logging_manager.flush(PATIENCE)
    found = stored.by_source()
    assert found["stream"]["duration"] >= 0
    assert "parent_id" not in found["after"]


def test_redact_sees_each_datapoint_before_it_is_queued(
    make_logging_manager: Callable[..., SessionManager], stored: Stored, records: list[Any]
) -> None:
    def redact(fields: dict[str, Any]) -> dict[str, Any] | None:
        if fields.get("source") == "secret":
            return None
        if fields.get("source") == "broken":
            raise ValueError("4711")
        assert "created_at" in fields or "duration" in fields  # of an end
        return {name: "***" if name in {"output", "inputs"} else value for name, value in fields.items()}

    manager = make_logging_manager(redact=redact)
    manager.log(source="plain", output="4711")
    manager.log(source="secret", output="4711")
    manager.log(source="broken", output="4711")
    with manager.datapoint(source="open", metadata={"n": 1}) as opened:
        opened.output = "4711"
    assert manager.flush(PATIENCE)
    found = stored.by_source()
    assert {source: log["output"] for source, log in found.items()} == {"plain": "***", "open": "***"}
    [record] = records
    assert "redact" in record.getMessage()
    assert "4711" not in record.getMessage()


def test_a_redact_that_lacks_a_return_is_told_of_once(
    make_logging_manager: Callable[..., SessionManager], stored: Stored, records: list[Any]
) -> None:
    """None drops a datapoint, so all would go missing in silence."""

    def redact(fields: dict[str, Any]) -> dict[str, Any] | None:  # type: ignore[return]
        fields["inputs"] = "***"

    manager = make_logging_manager(redact=redact)
    for number in range(3):
        manager.log(source=f"plain {number}")
        with manager.datapoint(source="open"):
            pass
    assert manager.flush(PATIENCE)
    assert stored.datapoints() == []
    [record] = records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("a datapoint is not logged, as redact= returned None")


def test_a_log_in_the_session_of_another_manager_is_told_of(
    logging_manager: SessionManager, stored: Stored, records: list[Any]
) -> None:
    """It has no session, as where a middleware was given no manager; a session that is named is enough."""
    with SessionManager(stored.base_url) as other, other.session():
        logging_manager.log(source="named", session_reference_id="chat-1")
        assert not records
        for _ in range(2):
            logging_manager.log(source="plain")
        with logging_manager.datapoint(source="open"):
            pass
    assert logging_manager.flush(PATIENCE)
    found = {log["source"]: log.get("session_id") for log in stored.datapoints()}
    assert found.keys() == {"named", "plain", "open"}
    assert found["plain"] is found["open"] is None
    [record] = records
    assert "the current one is of another manager" in record.getMessage()


@pytest.mark.parametrize(
    "name", ["\ud800", b"kind", ("kind", 1), object()], ids=lambda name: type(name).__name__
)
def test_no_name_of_a_field_keeps_datapoints_from_being_sent(
    make_logging_manager: Callable[..., SessionManager], stored: Stored, name: Any
) -> None:
    """Such as half of a character, or what redact= has added; the API does not know the field."""
    manager = make_logging_manager(redact=lambda fields: {**fields, name: 1})
    manager.log(source="answer", inputs={"question": "why?"}, output="42")
    assert manager.flush(PATIENCE)
    assert stored.only()["output"] == "42"


def test_an_end_that_redact_fails_at_is_told_as_such(
    make_logging_manager: Callable[..., SessionManager], stored: Stored, records: list[Any]
) -> None:
    """The beginning has been logged."""
    manager = make_logging_manager(redact=lambda fields: {**fields, "inputs": fields["inputs"]})
    with manager.datapoint(source="answer", inputs={"question": "why?"}) as answer:
        answer.output = "42"
    assert manager.flush(PATIENCE)
    assert "output" not in stored.only()
    [record] = records
    assert record.getMessage() == "the end of a datapoint is not logged, as redact= raised: KeyError"


def test_redact_need_not_keep_the_reference_id(
    make_logging_manager: Callable[..., SessionManager], stored: Stored
) -> None:
    """By which the end of a datapoint finds its beginning."""

    def redact(fields: dict[str, Any]) -> dict[str, Any]:
        return {name: fields[name] for name in ("project", "source", "output") if name in fields}

    manager = make_logging_manager(redact=redact)
    with manager.datapoint(source="answer") as answer:
        assert manager.flush(PATIENCE)
        answer.output = "42"
    assert manager.flush(PATIENCE)
    found = stored.only()
    assert (found["output"], found["reference_id"]) == ("42", answer.reference_id)


def test_sampling_keeps_or_drops_whole_sessions(
    make_logging_manager: Callable[..., SessionManager], stored: Stored
) -> None:
    """Decided by the session: another process decides alike."""
    manager, other = make_logging_manager(sample=0.5), make_logging_manager(sample=0.5)
    sessions = []
    for number in range(60):
        with manager.session() as session:
            manager.log(source=f"{number} first")
            manager.log(source=f"{number} second")
            sessions.append(session)
    assert manager.flush(PATIENCE)
    for number, session in enumerate(sessions):
        with other.session() as same:
            same._keep(session.id or "")
            other.log(source=f"{number} third")
        other.log(source=f"{number} fourth", session_id=session.id or "")
        with other.session(), other.datapoint(source=f"{number} fifth", session_id=session.id or ""):
            pass
    assert other.flush(PATIENCE)
    kept = [source.split()[0] for source in stored.by_source()]
    assert {kept.count(number) for number in set(kept)} == {5}
    assert 10 <= len(set(kept)) <= 50


def test_for_a_datapoint_that_names_a_session_no_other_is_created(logging_manager: SessionManager) -> None:
    with logging_manager.session() as session:
        logging_manager.log(source="log", session_reference_id="chat 1")
        with logging_manager.datapoint(source="open", session_reference_id="chat 1"):
            pass
        assert logging_manager.flush(PATIENCE)
        assert session.peek() is None
        wrong: Any = 5  # which is left out
        logging_manager.log(source="wrong", session_id=wrong)
        assert logging_manager.flush(PATIENCE)
        assert session.peek() is not None


def test_a_signal_handler_may_log(logging_manager: SessionManager, stored: Stored) -> None:
    """Wherever it interrupts: also in the midst of logging."""
    count = 0

    def handle(*_: object) -> None:
        nonlocal count
        count += 1
        logging_manager.log(source=f"signal {count}")

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    number = 0
    try:
        while count < 50:
            number += 1
            logging_manager.log(source=f"code {number}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert logging_manager.flush(PATIENCE)
    assert len(stored.by_source()) == number + count


@forks
def test_a_forked_child_has_a_queue_of_its_own(logging_manager: SessionManager, stored: Stored) -> None:
    """The parent sends the waiting datapoints, once each; the child goes on logging."""
    with logging_manager.session():
        for number in range(100):
            logging_manager.log(source=f"parent {number}")

        def work() -> None:
            logging_manager.log(source="child")
            assert logging_manager.flush(PATIENCE)

        assert exit_code_of_child(work) == 0
    assert logging_manager.flush(PATIENCE)
    found = stored.by_source()
    assert len(found) == 101


@forks
def test_a_forked_child_does_not_end_the_datapoints_of_its_parent(
    logging_manager: SessionManager, stored: Stored
) -> None:
    """A child that leaves the block, by an exit in it, completes nothing; the parent does."""
    with logging_manager.datapoint(source="parent") as opened:
        assert logging_manager.flush(PATIENCE)

        def work() -> None:
            opened.__exit__(SystemExit, SystemExit(0), None)
            assert logging_manager.flush(PATIENCE)

        assert exit_code_of_child(work) == 0
        opened.output = "42"
    assert logging_manager.flush(PATIENCE)
    completed = stored.only()
    assert (completed["output"], completed.get("error")) == ("42", None)


def test_the_fields_of_an_entry_are_named_by_the_application(
    logging_manager: SessionManager, stored: Stored
) -> None:
    """A session, a parent, a time and a reference of its own are what it says."""
    session_id = SessionManager(stored.base_url)._client.create().body["id"]
    with logging_manager.session():
        logging_manager.log(source="outer", reference_id="outer of " + stored.project, session_id=session_id)
    logging_manager.log(
        source="inner",
        created_at="2026-01-02T03:04:05Z",
        session_id=session_id,
        parent_reference_id="outer of " + stored.project,
    )
    assert logging_manager.flush(PATIENCE)
    found = stored.by_source()
    assert {log["session_id"] for log in found.values()} == {session_id}
    assert found["inner"]["parent_id"] == found["outer"]["id"]
    assert found["inner"]["created_at"].startswith("2026-01-02T03:04:05")


def test_what_is_none_is_not_given(logging_manager: SessionManager, stored: Stored) -> None:
    """What is not given is set."""
    names = ("project", "project_id", "session_id", "session_reference_id", "reference_id", "created_at")
    nothing: dict[str, Any] = dict.fromkeys([*names, "parent_id", "parent_reference_id"])
    with logging_manager.session() as session, logging_manager.datapoint(source="outer", **nothing):
        logging_manager.log(source="inner", **nothing)
    assert logging_manager.flush(PATIENCE)
    found = stored.by_source()
    assert {log["session_id"] for log in found.values()} == {session.id}
    assert found["inner"]["parent_id"] == found["outer"]["id"]


def test_an_end_is_told_after_a_datapoint_whose_session_id_is_none(
    logging_manager: SessionManager, stored: Stored
) -> None:
    """It is one of the session, which the end is, too."""
    nothing: Any = None
    with logging_manager.session(key="chat") as session:
        logging_manager.log(source="answer", session_id=nothing)
        session.end()
    assert logging_manager.flush(PATIENCE)
    session_id = stored.only()["session_id"]
    assert stored.get(f"/sessions/{session_id}")["ended_at"] is not None


def test_a_reference_id_is_returned_as_it_is_stored(
    make_logging_manager: Callable[..., SessionManager],
    stored: Stored,
    records: list[logging.LogRecord],
) -> None:
    """One that cannot be kept is replaced by a new one, and one warning says so."""
    manager = make_logging_manager(sample=0.999999)
    given: list[Any] = [uuid.uuid4(), f"{stored.project}\ud800", 5, object()]
    returned = []
    for reference_id in given:
        with manager.datapoint(source="outer", reference_id=reference_id) as outer:
            returned.append(outer.reference_id)
            returned.append(manager.log(source="inner"))
    assert manager.flush(PATIENCE)
    found = {log["reference_id"]: log for log in stored.datapoints()}
    assert found.keys() == set(returned)
    for outer_id, inner_id in zip(returned[::2], returned[1::2], strict=True):
        assert found[inner_id]["parent_id"] == found[outer_id]["id"]
    assert returned[0] == str(given[0])
    assert [record.getMessage().rpartition(": ")[2] for record in records] == [
        "reference_id holds half of a surrogate pair",
        "reference_id must be a text (str), not int",
        "reference_id must be a text (str), not object",
    ]


def test_closing_a_manager_that_logged_nothing_starts_no_thread(logging_manager: SessionManager) -> None:
    """There is nothing to send."""
    others = set(threading.enumerate())
    logging_manager.close()
    assert "hl-sessions-datapoints" not in {thread.name for thread in set(threading.enumerate()) - others}
