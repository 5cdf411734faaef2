"""Records of Loguru have the ID of the session in which they were logged."""

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("loguru")

import loguru
from loguru import logger

from hl_sessions import ConfigurationError, SessionManager
from hl_sessions.integrations.loguru import SessionAdder, add_session
from tests.sessions_api import SessionsAPI


@pytest.fixture(autouse=True)
def default_configuration() -> Iterator[None]:
    """The one logger of the process has no sink, and afterwards no patcher."""
    logger.remove()
    yield
    logger.remove()
    logger.configure(patcher=lambda _: None)


@pytest.mark.parametrize("sink", [{"enqueue": False}, {"enqueue": True}])
def test_each_record_has_the_id_as_far_as_it_is_known(
    sink: Any, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Also where a thread of its own writes the lines; no line creates a session."""
    lines: list[str] = []
    logger.configure(patcher=add_session)
    logger.add(lines.append, format="{extra[session_id]} {message}", **sink)
    logger.info("outside")
    with manager.session() as session:
        logger.info("unread")
        assert sessions_api.posts == 0
        session_id = session.id
        logger.info("read")
        logger.bind(session_id="mine").info("mine")
    logger.info("after")
    logger.complete()
    assert [line.strip() for line in lines] == [
        "- outside",
        "- unread",
        f"{session_id} read",
        "mine mine",
        "- after",
    ]


def test_fields_have_names_and_a_default_of_your_own(manager: SessionManager) -> None:
    """The key of the conversation is in a record only where that was asked for."""
    seen: list[dict[str, object]] = []

    def sink(message: "loguru.Message") -> None:
        seen.append(message.record["extra"])

    patched = logger.patch(SessionAdder(fields={"hl_session": "id", "hl_key": "key"}, default=None))
    logger.add(sink)
    patched.info("outside")
    with manager.session(key="chat") as session:
        session_id = session.id
        patched.info("read")
        logger.info("not patched")
    assert seen == [
        {"hl_session": None, "hl_key": None},
        {"hl_session": session_id, "hl_key": "chat"},
        {},
    ]
    with pytest.raises(ConfigurationError, match="'id' or 'key'"):
        SessionAdder(fields={"hl_session": "name"})  # type: ignore[dict-item]


def test_a_logger_is_handed_to_another_process() -> None:
    """One that is spawned is given what was pickled, the patcher included."""
    logger.configure(patcher=add_session)
    handed: Any = pickle.loads(pickle.dumps(logger))
    lines: list[str] = []
    handed.add(lines.append, format="{extra[session_id]} {message}")
    handed.info("outside")
    assert lines == ["- outside\n"]
