"""Datapoints while the API is down, slow or lying, and at the end of the process."""

import gc
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hl_sessions import SessionManager
from tests.datapoints.conftest import Stored
from tests.datapoints.cutting_proxy import CuttingProxy
from tests.faults import FaultServer, Play, Wire
from tests.servers import free_port
from tests.sessions_api import Answer, Request, SessionsAPI, create_sessions_and_logs, stored_logs
from tests.waiting import PATIENCE, ends_within, wait_until

LIMIT = 200_000  # bytes


@pytest.fixture
def cut_answers(server_url: str) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(server_url, every=3)
    yield proxy
    proxy.close()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cool-off takes no longer than it has to."""
    monkeypatch.setattr("hl_sessions.availability.outage.FIRST_COOL_OFF", 0.05)
    monkeypatch.setattr("hl_sessions.availability.outage.LONGEST_COOL_OFF", 0.1)


@pytest.fixture
def only_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a flush nothing is sent; entries that are being sent are not dropped for newer ones."""
    monkeypatch.setattr("hl_sessions.datapoints.sender.INTERVAL", PATIENCE)


@pytest.mark.usefixtures("soon")
def test_datapoints_wait_while_the_api_is_down(records: list[logging.LogRecord]) -> None:
    """Every call returns; one warning begins the outage and one line ends it."""
    port = free_port()
    manager = SessionManager(f"http://127.0.0.1:{port}/v4", project="p", retries=0)
    sessions = []
    for number in range(10):
        with manager.session() as session:
            manager.log(source=str(number))
            sessions.append(session)
    wait_until(lambda: records)
    api = SessionsAPI(port=port)
    api.answer = create_sessions_and_logs
    assert manager.flush(PATIENCE)
    wait_until(lambda: len(records) == 2)
    assert [datapoint["source"] for datapoint in stored_logs(api)] == [str(number) for number in range(10)]
    assert [datapoint["session_id"] for datapoint in stored_logs(api)] == [
        session.peek() for session in sessions
    ]
    assert [record.levelname for record in records] == ["WARNING", "INFO"]
    assert "datapoints that were dropped: 0" in records[1].getMessage()
    manager.close()
    api.close()


@pytest.mark.usefixtures("soon")
def test_datapoints_wait_where_their_api_is_not(
    sessions_api: SessionsAPI, records: list[logging.LogRecord]
) -> None:
    """An address that answers 404 is a wrong one, and none of the datapoints is at fault."""
    manager = SessionManager(sessions_api.base_url, project="p", retries=0)
    for number in range(4):
        manager.log(source=str(number))
    wait_until(lambda: records)
    assert "404" in records[0].getMessage()
    sessions_api.requests.clear()
    sessions_api.answer = create_sessions_and_logs
    assert manager.flush(PATIENCE)
    assert [datapoint["source"] for datapoint in stored_logs(sessions_api)[-4:]] == ["0", "1", "2", "3"]
    manager.close()


@pytest.mark.usefixtures("soon", "only_asked")
def test_a_datapoint_that_was_dropped_while_it_was_open_is_sent_when_it_ends(
    records: list[logging.LogRecord],
) -> None:
    """Whole, as nothing of it has been sent, so it is not counted as dropped."""
    port = free_port()
    manager = SessionManager(f"http://127.0.0.1:{port}/v4", project="p", retries=0, queue_size=LIMIT)
    with manager.datapoint(source="open", inputs={"question": "?"}) as opened:
        for _ in range(1000):
            manager.log(source="other", output="x" * 1000)
        opened.output = "42"
    api = SessionsAPI(port=port)
    api.answer = create_sessions_and_logs
    assert manager.flush(PATIENCE)
    [whole] = [datapoint for datapoint in stored_logs(api) if datapoint["source"] == "open"]
    assert (whole["inputs"], whole["output"]) == ({"question": "?"}, "42")
    wait_until(lambda: records)
    assert f"dropped, as more are logged than can be sent: {1001 - len(stored_logs(api))};" in (
        records[0].getMessage()
    )
    manager.close()
    api.close()


@pytest.mark.parametrize("ends_first", [True, False])
def test_a_datapoint_that_was_stored_unanswered_is_completed(
    make_logging_manager: Callable[..., SessionManager],
    cut_answers: CuttingProxy,
    stored: Stored,
    records: list[logging.LogRecord],
    monkeypatch: pytest.MonkeyPatch,
    *,
    ends_first: bool,
) -> None:
    """Whether it ends before it is sent again, and the server refuses it, or after that."""
    monkeypatch.setattr("hl_sessions.availability.outage.FIRST_COOL_OFF", 0.5)
    cut_answers.every = 1
    manager = make_logging_manager(base_url=cut_answers.base_url, retries=0)
    with manager.datapoint(source="open", inputs={"question": "?"}) as opened:
        manager.log(source="other")  # the next batch is smaller, so the server does not know its key
        wait_until(lambda: cut_answers.cut and len(manager.recorder._queue) == 2)
        cut_answers.every = sys.maxsize
        if not ends_first:
            assert manager.flush(PATIENCE)
        opened.output = "42"
    assert manager.flush(PATIENCE)
    completed = stored.by_source()["open"]
    assert (completed["inputs"], completed["output"]) == ({"question": "?"}, "42")
    assert completed["duration"] > 0
    assert all("the sessions API is back" in record.getMessage() for record in records)


def test_an_earlier_datapoint_with_a_given_reference_id_stays_as_it_was(
    make_logging_manager: Callable[..., SessionManager],
    cut_answers: CuttingProxy,
    stored: Stored,
    records: list[logging.LogRecord],
) -> None:
    """It may be that of another chat, so what is sent again after a lost answer does not complete it."""
    cut_answers.every = 1
    given: dict[str, Any] = {"source": "answer", "reference_id": f"{stored.project}-1"}
    earlier = make_logging_manager()
    earlier.log(**given, output="42")
    assert earlier.flush(PATIENCE)
    manager = make_logging_manager(base_url=cut_answers.base_url, retries=0)
    manager.log(**given, output="of another chat")
    with manager.datapoint(**given) as opened:
        wait_until(lambda: cut_answers.cut and len(manager.recorder._queue) == 2)
        cut_answers.every = sys.maxsize
        opened.output = "of another chat"
    assert manager.flush(PATIENCE)
    assert stored.only()["output"] == "42"
    refused = "the sessions API refuses a datapoint, which is not sent again: reference_id"
    wait_until(lambda: any(record.getMessage().startswith(refused) for record in records))


@pytest.mark.usefixtures("only_asked")
@pytest.mark.parametrize("end", ["redacted", "x" * LIMIT])
def test_a_dropped_datapoint_whose_end_is_not_logged_is_sent_without_it(
    make_logging_manager: Callable[..., SessionManager], stored: Stored, end: str
) -> None:
    """An end that redact= leaves out, or that is too large, costs the beginning nothing."""
    manager = make_logging_manager(
        queue_size=LIMIT, redact=lambda fields: None if fields.get("output") == "redacted" else fields
    )
    with manager.datapoint(source="open", inputs={"question": "?"}) as opened:
        for _ in range(200):
            manager.log(source="other", output="x" * 1000)
        opened.output = end
    assert manager.flush(PATIENCE)
    [kept] = [datapoint for datapoint in stored.datapoints() if datapoint["source"] == "open"]
    assert kept["inputs"] == {"question": "?"}
    assert "output" not in kept


@pytest.mark.usefixtures("soon", "only_asked")
def test_an_outage_costs_no_more_memory_than_the_queue_may_have(records: list[logging.LogRecord]) -> None:
    """Beyond it the oldest datapoints are dropped, and counted in the line that ends the outage."""
    port = free_port()
    manager = SessionManager(f"http://127.0.0.1:{port}/v4", project="p", retries=0, queue_size=LIMIT)
    queue = manager.recorder._queue
    for number in range(1000):
        manager.log(source=str(number), output="x" * 1000)
        assert queue.size <= LIMIT
    assert not manager.flush(0.001)
    wait_until(lambda: records)
    api = SessionsAPI(port=port)
    api.answer = create_sessions_and_logs
    assert manager.flush(PATIENCE)
    wait_until(lambda: len(records) == 2)
    sent = [int(datapoint["source"]) for datapoint in stored_logs(api)]
    assert 100 < len(sent) < 200
    assert sent == list(range(1000 - len(sent), 1000))
    assert f"datapoints that were dropped: {1000 - len(sent)}" in records[1].getMessage()
    assert records[1].levelname == "WARNING"  # what is lost is seen without any setting of logs
    manager.close()
    api.close()


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="the collector is that of CPython")
@pytest.mark.usefixtures("only_asked")
def test_datapoints_that_wait_are_no_work_for_the_garbage_collector() -> None:
    """It looks at none of them, so requests wait no longer for it while many datapoints wait."""

    def ours() -> int:
        return sum(str(type(each).__module__).startswith("hl_sessions.") for each in gc.get_objects())

    manager = SessionManager(f"http://127.0.0.1:{free_port()}/v4", project="p", timeout=0.1, retries=0)
    with manager.session():
        manager.log(source="first")
        before = ours()
        for number in range(200):
            manager.log(source=str(number), inputs={"question": "Why?"}, output="Because.")
        assert ours() < before + 100
    manager.close()


@pytest.mark.slow
def test_answers_that_are_lost_store_nothing_twice(
    make_logging_manager: Callable[..., SessionManager],
    cut_answers: CuttingProxy,
    stored: Stored,
    soon: None,
) -> None:
    """Neither datapoints nor sessions nor what completes a datapoint."""
    manager = make_logging_manager(base_url=cut_answers.base_url)
    for number in range(60):
        with manager.session(), manager.datapoint(source=f"outer {number}") as outer:
            manager.log(source=f"inner {number}")
            if number % 20 == 0:
                manager.flush(PATIENCE)
            outer.output = str(number)
    assert manager.flush(PATIENCE)
    assert cut_answers.cut
    found = stored.by_source()
    assert len(found) == 120
    assert {found[f"outer {number}"]["output"] == str(number) for number in range(60)} == {True}
    assert {
        found[f"inner {number}"]["parent_id"] == found[f"outer {number}"]["id"] for number in range(60)
    } == {True}
    assert stored.sessions() == 60


def test_what_waits_is_sent_when_the_process_ends(stored: Stored) -> None:
    """Without a word of this from the application."""
    script = """
import sys, threading
from hl_sessions import SessionManager
manager = SessionManager(sys.argv[1], project=sys.argv[2])
with manager.session():
    for number in range(50):
        manager.log(source=str(number))
"""
    subprocess.run(
        [sys.executable, "-c", script, stored.base_url, stored.project], check=True, timeout=PATIENCE
    )
    assert len(stored.by_source()) == 50


@pytest.mark.parametrize(
    "last",
    ["atexit.register(log)", "threading.Thread(target=log_after_main).start()"],
    ids=["atexit", "thread"],
)
def test_what_is_logged_after_the_main_thread_has_ended_is_sent(stored: Stored, last: str) -> None:
    script = f"""
import atexit, sys, threading
from hl_sessions import SessionManager

def log():
    manager.log(source="last")

def log_after_main():
    threading.main_thread().join()
    assert manager.flush({PATIENCE})
    log()

{last}
manager = SessionManager(sys.argv[1], project=sys.argv[2])
manager.log(source="first")
"""
    subprocess.run(
        [sys.executable, "-c", script, stored.base_url, stored.project], check=True, timeout=PATIENCE
    )
    assert stored.by_source().keys() == {"first", "last"}


def test_a_finalizer_may_log_when_the_interpreter_ends() -> None:
    """No thread can be started by then; one would be waited for for ever."""
    script = """
from hl_sessions import SessionManager

class Logging:
    def __del__(self):
        self.manager.log(source="answer")

logging = Logging()
logging.manager = SessionManager("http://127.0.0.1:9/v4", project="p")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE)


def test_the_end_says_what_was_dropped_before(
    serve: Callable[[Play], FaultServer], records: list[logging.LogRecord]
) -> None:
    """Where the outage has no end that could."""
    manager = SessionManager(
        serve(Wire.wait_until_closed).base_url, project="p", timeout=0.1, queue_size=LIMIT
    )
    for number in range(1000):
        manager.log(source=str(number), output="x" * 1000)
    manager.close()

    def said() -> list[int]:
        return [int(record.getMessage().split()[-1]) for record in records if "were" in record.getMessage()]

    wait_until(lambda: len(said()) == 2)  # the thread that sends may be the one that logs a record
    assert sum(said()) == 1000


def test_the_end_waits_no_longer_than_the_timeout(serve: Callable[[Play], FaultServer]) -> None:
    """For an API that never answers; how many datapoints that costs is said."""
    server = serve(Wire.wait_until_closed)
    script = """
import logging, sys
logging.basicConfig(format="%(message)s")
from hl_sessions import SessionManager
manager = SessionManager(sys.argv[1], project="p", timeout=0.5)
manager.log(source="answer")
"""
    with ends_within(3):
        done = subprocess.run(
            [sys.executable, "-c", script, server.base_url],
            check=True,
            timeout=PATIENCE,
            capture_output=True,
            text=True,
        )
    assert "datapoints that were not sent before the end: 1" in done.stderr


@pytest.mark.usefixtures("soon")
def test_datapoints_wait_where_something_else_than_the_api_answers(sessions_api: SessionsAPI) -> None:
    """A page, as of a proxy that asks for a login, has stored nothing."""
    pages = iter([b"<html>Please log in</html>"] * 2)

    def answer(request: Request) -> Answer:
        page = next(pages, None)
        return create_sessions_and_logs(request) if page is None else Answer(200, page)

    sessions_api.answer = answer
    manager = SessionManager(sessions_api.base_url, project="p", retries=0)
    manager.log(source="answer")
    assert manager.flush(PATIENCE)
    assert len(sessions_api.requests) == 3
    manager.close()


def test_an_end_that_is_too_large_drops_no_others(
    make_logging_manager: Callable[..., SessionManager], stored: Stored, records: list[logging.LogRecord]
) -> None:
    """They would make room for it in vain."""
    manager = make_logging_manager(queue_size=LIMIT)
    with manager.datapoint(source="open") as opened:
        manager.log(source="other")
        opened.output = "x" * LIMIT
    assert manager.flush(PATIENCE)
    assert stored.by_source().keys() == {"open", "other"}
    [record] = records
    assert "queue_size" in record.getMessage()


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("status", [500, 400])
def test_one_datapoint_that_the_api_fails_at_is_dropped_alone(
    sessions_api: SessionsAPI, records: list[logging.LogRecord], status: int
) -> None:
    """An API that answers 500 or 400 because of it does not keep all others waiting for ever."""

    def answer(request: Request) -> Answer:
        if b"poison" in request.body:
            return Answer(status, {"detail": "it broke"})
        return create_sessions_and_logs(request)

    sessions_api.answer = answer
    manager = SessionManager(sessions_api.base_url, project="p", retries=0)
    for number in range(20):
        manager.log(source="poison" if number == 7 else str(number))
    assert manager.flush(PATIENCE)
    sources = Counter(
        datapoint["source"] for datapoint in stored_logs(sessions_api) if datapoint["source"] != "poison"
    )
    assert set(sources) == {str(number) for number in range(20)} - {"7"}
    assert any(str(status) in record.getMessage() for record in records if record.levelname == "WARNING")
    manager.close()


def test_a_datapoint_that_is_too_large_is_dropped_alone(
    sessions_api: SessionsAPI, records: list[logging.LogRecord]
) -> None:
    def answer(request: Request) -> Answer:
        return (
            Answer(413, {"detail": "too large"})
            if len(request.body) > 50_000
            else create_sessions_and_logs(request)
        )

    sessions_api.answer = answer
    manager = SessionManager(sessions_api.base_url, project="p", retries=0, queue_size=1_000_000)
    manager.log(source="before")
    manager.log(source="large", output="x" * 100_000)
    manager.log(source="huge", output="x" * 2_000_000)
    manager.log(source="after")
    assert manager.flush(PATIENCE)
    accepted = [datapoint["source"] for datapoint in stored_logs(sessions_api)]
    assert accepted.count("before") >= 1
    assert accepted[-1] == "after"
    messages = [record.getMessage() for record in records]
    assert any("queue_size" in message for message in messages)
    assert any("too large" in message for message in messages)
    manager.close()


def test_after_close_nothing_is_stored_logs(
    make_logging_manager: Callable[..., SessionManager], stored: Stored, records: list[logging.LogRecord]
) -> None:
    """Earlier datapoints are sent; one warning says that later ones are too late."""
    manager = make_logging_manager()
    manager.log(source="before")
    manager.close()
    for _ in range(3):
        manager.log(source="after")
    assert list(stored.by_source()) == ["before"]
    [record] = records
    assert "closed" in record.getMessage()
