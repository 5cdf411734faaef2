"""The fixtures of all tests: a clean environment, servers, managers and their log records."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hl_sessions.manager
from hl_sessions import SessionManager, SessionsClient
from hl_sessions.client.deadline import Deadline
from hl_sessions.datapoints.sender import senders
from tests.faults import FaultServer, Play, Resolver
from tests.interrupting import allow_interrupts
from tests.servers import PostgreSQL, valkey_server
from tests.sessions_api import Gate, SessionsAPI
from tests.waiting import PATIENCE

allow_interrupts()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting, key or proxy comes from outside a test."""
    for name in ("HL_SESSIONS_BASE_URL", "HL_SESSIONS_API_KEY", "HUMANLOOP_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(autouse=True)
def no_default_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next test does not see the configuration of a test."""
    monkeypatch.setattr("hl_sessions.defaults._default.manager", None)


@pytest.fixture(autouse=True)
def nothing_waits() -> Iterator[None]:
    """Unsent datapoints of a test do not delay later tests that wait for all managers."""
    before = set(senders())
    yield
    for sender in set(senders()) - before:
        sender.close(0.0)


@pytest.fixture(autouse=True)
def patient_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, no time limit passes but one that a test sets."""
    monkeypatch.setattr(hl_sessions.manager, "DEFAULT_TIMEOUT", PATIENCE)
    defaults: Any = SessionsClient.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "timeout", PATIENCE)


class _BrokenHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError("the handler is broken")


@pytest.fixture
def broken_handler() -> Iterator[None]:
    """The application has a log handler that raises, where those of ``logging`` would not."""
    handler = _BrokenHandler()
    logging.getLogger("hl_sessions").addHandler(handler)
    yield
    logging.getLogger("hl_sessions").removeHandler(handler)


@pytest.fixture
def sessions_api() -> Iterator[SessionsAPI]:
    api = SessionsAPI()
    yield api
    api.close()


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call counts as one that had to wait for its turn, however busy the machine is."""
    monkeypatch.setattr(Deadline, "is_late", lambda _: False)


@pytest.fixture
def serve() -> Iterator[Callable[[Play], FaultServer]]:
    """Starts servers that play a given script."""
    servers: list[FaultServer] = []

    def start(play: Play) -> FaultServer:
        servers.append(FaultServer(play))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver(monkeypatch)
    yield resolver
    resolver.go_on.set()


@pytest.fixture
def gate(sessions_api: SessionsAPI) -> Iterator[Gate]:
    gate = Gate(sessions_api)
    yield gate
    gate.opened.set()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The value of ``--db`` for an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "database.sqlite3")
    url: str = request.getfixturevalue("postgresql").new_database()
    return url


@pytest.fixture
def make_manager(sessions_api: SessionsAPI) -> Iterator[Callable[..., SessionManager]]:
    """Makes managers of the sessions API, without retries."""
    managers: list[SessionManager] = []

    def make(**settings: Any) -> SessionManager:
        settings = {"base_url": sessions_api.base_url, "retries": 0, **settings}
        managers.append(SessionManager(**settings))
        return managers[-1]

    yield make
    for manager in managers:
        manager.close()


@pytest.fixture
def manager(make_manager: Callable[..., SessionManager]) -> SessionManager:
    return make_manager()


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """The log records of this package."""
    seen: list[logging.LogRecord] = []

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    handler = Recorder()
    logger = logging.getLogger("hl_sessions")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield seen
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of an empty server that speaks Redis and forgets everything when the tests end."""
    with valkey_server() as server:
        yield server.connection_url


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    yield server
    server.remove()


@pytest.fixture
def own_postgresql() -> Iterator[PostgreSQL]:
    """One that no other test uses."""
    server = PostgreSQL()
    yield server
    server.remove()
