"""Exceptions of the application within a read: time limits, such as those of RQ and Celery."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from hl_sessions import APITimeoutError, Session, SessionManager
from hl_sessions.process.reentry import creating, is_creating
from hl_sessions.process.waits import run_blocking
from tests.faults import FaultServer, Play, Resolver
from tests.interpreters import collects_at_once
from tests.sessions_api import Answer, Gate, Request, SessionsAPI, create_sessions
from tests.waiting import PATIENCE, in_threads, wait_until, waiting_threads

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="uses signals")


class TimeLimit(Exception):  # noqa: N818 - named as those of others are
    pass


@pytest.fixture
def interrupt_main_thread() -> Iterator[Callable[[], None]]:
    """Raises ``TimeLimit`` there, from any thread."""
    has_come = threading.Event()
    main_thread = threading.get_ident()

    def stop(_number: int, _frame: object) -> None:
        has_come.set()
        raise TimeLimit

    def send() -> None:
        has_come.clear()
        signal.pthread_kill(main_thread, signal.SIGUSR1)
        in_threads(send_again)

    def send_again() -> None:
        # One that comes after Python's last look, and before it waits, is not noticed until it has waited.
        while not has_come.wait(5):
            signal.pthread_kill(main_thread, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, stop)
    yield send
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def interrupt(sessions_api: SessionsAPI, gate: Gate, interrupt_main_thread: Callable[[], None]) -> None:
    """The next request that the API gets is not answered, and the main thread is interrupted then."""

    def interrupt(request: Request) -> Answer:
        sessions_api.answer = create_sessions
        interrupt_main_thread()
        return gate(request)

    sessions_api.answer = interrupt


@pytest.mark.usefixtures("interrupt")
@pytest.mark.parametrize("on_error", ["warn", "raise"])
@pytest.mark.parametrize("key", [None, "chat-42"])
def test_is_for_the_application(
    make_manager: Callable[..., SessionManager],
    caplog: pytest.LogCaptureFixture,
    on_error: str,
    key: str | None,
) -> None:
    """It comes out of the read, is no failure of the API, and the scope goes on."""
    manager = make_manager(on_error=on_error)
    with manager.session(key=key) as session:
        with pytest.raises(TimeLimit):
            session.id  # noqa: B018 - it is the read that is interrupted
        assert session.id is not None
    assert [record for record in caplog.records if record.name == "hl_sessions"] == []


@pytest.mark.usefixtures("interrupt")
@pytest.mark.parametrize("key", [None, "chat-42"])
def test_others_that_wait_get_the_id(
    manager: SessionManager, sessions_api: SessionsAPI, key: str | None
) -> None:
    """One of them creates the session instead."""
    with manager.session(key=key) as session:
        interrupted = sessions_api.answer
        waiting = threading.Event()

        def interrupt_when_somebody_waits(request: Request) -> Answer:
            assert waiting.wait(20)
            return interrupted(request)

        sessions_api.answer = interrupt_when_somebody_waits

        def wait_for_the_creation() -> str | None:
            wait_until(lambda: sessions_api.posts)
            return session.id

        def say_when_it_waits() -> None:
            wait_until(lambda: waiting_threads(session))
            waiting.set()

        other = in_threads(wait_for_the_creation)[0]
        in_threads(say_when_it_waits)
        with pytest.raises(TimeLimit):
            session.id  # noqa: B018
        assert other.result(20) == session.id is not None


@collects_at_once
def test_while_connecting(
    make_manager: Callable[..., SessionManager],
    serve: Callable[[Play], FaultServer],
    resolver: Resolver,
    interrupt_main_thread: Callable[[], None],
) -> None:
    """The name that is looked up is forgotten: there is no connection afterwards."""

    def interrupt() -> None:
        assert resolver.asked.wait(20)
        interrupt_main_thread()

    server = serve(lambda wire: None)
    manager = make_manager(base_url=server.base_url.replace("127.0.0.1", "localhost"))
    with manager.session() as session:
        in_threads(interrupt)
        with pytest.raises(TimeLimit) as interruption:
            session.id  # noqa: B018
    resolver.go_on.set()
    server.wait_until_all_closed()
    del interruption  # whose traceback has held the connection until here


def test_at_the_worst_of_moments(manager: SessionManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a creation has begun that others already wait for: they wait no longer than it could take."""
    monkeypatch.setattr("hl_sessions.sessions.session.LONGEST_DELAY", 0)
    monkeypatch.setattr(manager._client, "timeout", 0.2)
    carry_out = Session._carry_out

    def interrupted(session: Session, creation: object) -> None:
        monkeypatch.setattr(Session, "_settle", lambda *_: None)
        raise TimeLimit

    with manager.session() as session:
        settle = Session._settle
        monkeypatch.setattr(Session, "_carry_out", interrupted)
        with pytest.raises(TimeLimit):
            session.id  # noqa: B018
        monkeypatch.setattr(Session, "_carry_out", carry_out)
        monkeypatch.setattr(Session, "_settle", settle)
        monkeypatch.setattr(manager._client, "timeout", PATIENCE)
        assert session.id is not None


@collects_at_once
def test_of_the_mark_of_a_creation() -> None:
    """A mark that was not removed does not outlive its creation."""
    mark = creating()
    mark.__enter__()
    assert is_creating()
    del mark
    assert not is_creating()


def test_a_call_that_was_late_is_no_failure_of_the_api(
    serve: Callable[[Play], FaultServer], caplog: pytest.LogCaptureFixture
) -> None:
    """Reads that wait so long for their turn that no time is left are no outage; they are told of once."""
    manager = SessionManager(serve(lambda wire: None).base_url, timeout=1)
    with manager:
        deadlines = [manager.deadline() for _ in range(5)]
        wait_until(deadlines[-1].is_late)
        for deadline in deadlines:
            with pytest.raises(APITimeoutError):
                run_blocking(manager.create_session_id(deadline, {}))
        assert manager.refusal() is None
        manager.report()
    [record] = [record for record in caplog.records if record.name == "hl_sessions"]
    assert record.levelno == logging.WARNING
    assert "as many were being created at once" in record.getMessage()
