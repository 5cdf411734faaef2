"""Log records of the standard library have the ID of the session in which they were made."""

import io
import json
import logging
import logging.handlers
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest

from hl_sessions import ConfigurationError, SessionManager
from hl_sessions.integrations.logging import SessionFilter, install, uninstall
from hl_sessions.integrations.wsgi import HLSessionMiddleware
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE


@pytest.fixture(autouse=True)
def factory() -> Iterator[Any]:
    """The record factory that is there before, and put back."""
    factory = logging.getLogRecordFactory()
    yield factory
    uninstall()
    logging.setLogRecordFactory(factory)


@pytest.fixture
def app() -> Iterator[logging.Logger]:
    """The logger that the handlers of the application are on; those below it have none."""
    logger = logging.getLogger("app")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()


def lines_of(app: logging.Logger, layout: str, *filters: SessionFilter) -> Callable[[], list[str]]:
    """Add a handler, and return what gives its lines."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(layout))
    for each in filters:
        handler.addFilter(each)
    app.addHandler(handler)
    return lambda: stream.getvalue().splitlines()


def say(message: str) -> None:
    logging.getLogger("app.deep.below").info(message)


def test_each_line_has_the_id_as_far_as_it_is_known(
    manager: SessionManager, sessions_api: SessionsAPI, app: logging.Logger
) -> None:
    """Outside of scopes, and before the first read of the ID, there is a dash; no line creates a session."""
    install()
    lines = lines_of(app, "%(session_id)s %(message)s")
    say("before")
    with manager.session() as session:
        say("unread")
        assert sessions_api.posts == 0
        session_id = session.id
        say("read")
        with manager.session(new=True) as inner:
            say("unread as well")
            say(f"{inner.id}")
        say("back")
    say("after")
    assert lines() == [
        "- before",
        "- unread",
        f"{session_id} read",
        "- unread as well",
        f"{inner.id} {inner.id}",
        f"{session_id} back",
        "- after",
    ]
    assert sessions_api.posts == 2


def test_a_handler_behind_a_queue_has_it(manager: SessionManager, app: logging.Logger) -> None:
    """The thread of the listener is in no session, and each record says its own."""
    install()
    lines = lines_of(app, "%(session_id)s")
    app.removeHandler(handler := app.handlers[-1])
    records: queue.Queue[Any] = queue.Queue()
    app.addHandler(logging.handlers.QueueHandler(records))
    listener = logging.handlers.QueueListener(records, handler)
    listener.start()
    ids = []
    for _ in range(2):
        with manager.session() as session:
            ids.append(session.id)
            say("read")
    listener.stop()
    assert lines() == ids


def test_fields_have_names_and_a_default_of_your_own(manager: SessionManager, app: logging.Logger) -> None:
    """The key of the conversation is on a record only where that was asked for."""
    install(fields={"hl_session": "id", "hl_key": "key"}, default=None)
    lines = lines_of(app, "%(hl_session)s %(hl_key)s")
    say("outside")
    with manager.session(key="chat-42") as session:
        say("unread")
        session_id = session.id
        say("read")
    with manager.session() as session:
        say("without a key")
    assert lines() == ["None None", "None chat-42", f"{session_id} chat-42", "None None"]
    assert not hasattr(logging.makeLogRecord({}), "session_id")


def test_a_function_that_finds_the_key_may_log(manager: SessionManager, app: logging.Logger) -> None:
    """A line may have the key looked up, which may log a line."""
    install(fields={"key": "key"})
    lines = lines_of(app, "%(key)s %(message)s")

    def key(environ: Any) -> str:
        say("looking")
        chat: str = environ["CHAT"]
        return chat

    def application(environ: Any, start_response: Any) -> list[bytes]:
        say("found")
        return []

    middleware: Any = HLSessionMiddleware(application, manager, key=key)
    middleware({"CHAT": "42", "REQUEST_METHOD": "GET"}, None)
    assert lines() == ["- looking", "42 found"]


def test_a_scope_that_was_left_elsewhere_is_not_logged(manager: SessionManager, app: logging.Logger) -> None:
    """As when another task closes a generator: the context keeps a session that is not current any more."""
    install()
    lines = lines_of(app, "%(session_id)s")
    scope = manager.session()
    session_id = scope.__enter__().id
    say("inside")
    copy_context().run(scope.__exit__, None, None, None)
    say("left")
    assert lines() == [session_id, "-"]


class OwnRecord(logging.LogRecord):
    """As an application may have its own; it takes more than ``logging`` itself passes."""

    def __init__(self, *args: Any, colour: str = "red", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.colour = colour


def make_record(**kwargs: Any) -> Any:
    return logging.getLogRecordFactory()("app", logging.INFO, "", 0, "message", (), None, **kwargs)


@pytest.mark.parametrize("fields", [None, {"hl_session": "id"}])
def test_the_factory_that_was_there_makes_the_records(fields: Any) -> None:
    """Until ours is taken away, and after that as well."""
    logging.setLogRecordFactory(OwnRecord)
    install(fields=fields)
    (name,) = fields or {"session_id": "id"}
    record = make_record(colour="blue", func="main")
    assert isinstance(record, OwnRecord)
    assert (record.colour, record.funcName, getattr(record, name)) == ("blue", "main", "-")
    assert make_record().colour == "red"
    uninstall()
    assert logging.getLogRecordFactory() is OwnRecord


def test_installing_again_replaces(factory: Any) -> None:
    """One call undoes what several have done."""
    install(fields={"first": "id"})
    install(fields={"second": "id"})
    install(default="none")
    assert make_record().session_id == "none"
    assert not {"first", "second"} & vars(make_record()).keys()
    uninstall()
    assert logging.getLogRecordFactory() is factory
    uninstall()
    assert logging.getLogRecordFactory() is factory


@pytest.mark.parametrize("fields", [None, {"session_id": "id"}])
def test_what_was_built_upon_ours_stays(fields: Any) -> None:
    """Others have wrapped our factory: it adds nothing any more, theirs goes on."""
    install(fields=fields)
    ours = logging.getLogRecordFactory()

    def wrapping(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = ours(*args, **kwargs)
        record.theirs = True
        return record

    logging.setLogRecordFactory(wrapping)
    assert (make_record().session_id, make_record().theirs) == ("-", True)
    uninstall()
    assert logging.getLogRecordFactory() is wrapping
    assert make_record().theirs
    assert not hasattr(make_record(), "session_id")
    install(default="again")
    assert (make_record().session_id, make_record().theirs) == ("again", True)


@pytest.mark.parametrize("first", [None, {"session_id": "id"}])
def test_what_another_one_restores_goes_on(first: Any, factory: Any) -> None:
    """As OpenTelemetry's instrumentation of ``logging`` does: ours was installed again since."""
    install(fields=first)
    ours = logging.getLogRecordFactory()
    logging.setLogRecordFactory(OwnRecord)
    install(fields={"second": "id"}, default="again")
    logging.setLogRecordFactory(ours)
    assert make_record().second == "again"
    assert not hasattr(make_record(), "session_id")
    uninstall()
    assert not hasattr(make_record(), "second")


def test_the_filter_of_a_handler_does_the_same(manager: SessionManager, app: logging.Logger) -> None:
    """For the records of all loggers; what a record has already stays."""
    added = SessionFilter(fields={"session_id": "id", "key": "key"}, default="none")
    lines = lines_of(app, "%(session_id)s %(key)s", added)
    say("outside")
    with manager.session(key="chat") as session:
        session_id = session.id
        say("read")
        logging.getLogger("app.other").info("mine", extra={"session_id": "mine"})
    assert lines() == ["none none", f"{session_id} chat", "mine chat"]
    assert not hasattr(make_record(), "session_id")


DICT_CONFIG = """
import json, logging.config, sys
from hl_sessions import SessionManager
logging.config.dictConfig({
    "version": 1,
    "filters": {"session": json.loads(sys.argv[1])},
    "formatters": {"line": {"format": "%(session_id)s %(message)s"}},
    "handlers": {
        "err": {"class": "logging.StreamHandler", "formatter": "line", "filters": json.loads(sys.argv[2])},
    },
    "root": {"handlers": ["err"], "level": "INFO"},
})
with SessionManager(sys.argv[3]).session() as session:
    logging.getLogger("app").info("unread")
    session.id
    logging.getLogger("app").info("read")
"""


@pytest.mark.parametrize(
    ("called", "filters"), [("install", []), ("install", ["session"]), ("SessionFilter", ["session"])]
)
def test_dict_config_takes_a_line(called: str, filters: list[str], sessions_api: SessionsAPI) -> None:
    """One for all handlers, which they may name, or for one; each takes the options of what it calls."""
    line = {"()": f"hl_sessions.integrations.logging.{called}", "default": "none"}
    arguments = [json.dumps(line), json.dumps(filters), sessions_api.base_url]
    command = [sys.executable, "-c", DICT_CONFIG, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    unread, read = done.stderr.splitlines()
    assert unread == "none unread"
    assert read.startswith("sesh_")
    assert read.endswith(" read")


@pytest.mark.parametrize(
    "fields",
    [
        ["session_id"],
        {"session_id": "reference_id"},
        {"session_id": ["id"]},
        {7: "id"},
        {"message": "id"},
        {"args": "key"},
    ],
)
def test_wrong_fields_are_refused(fields: Any, factory: Any) -> None:
    """And nothing is changed by then."""
    install(default="as before")
    for call in (install, SessionFilter):
        with pytest.raises(ConfigurationError, match="fields"):
            call(fields=fields)
    assert make_record().session_id == "as before"
