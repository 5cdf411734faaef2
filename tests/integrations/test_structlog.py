"""Events of structlog have the ID of the session in which they were logged."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("structlog")

import structlog

from hl_sessions import ConfigurationError, SessionManager
from hl_sessions.integrations.structlog import SessionAdder, add_session
from tests.sessions_api import SessionsAPI


@pytest.fixture(autouse=True)
def default_configuration() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def logged_with(*processors: Any) -> Any:
    """Configure structlog, and return a logger, and the events that it renders from now on."""
    events = structlog.testing.LogCapture()
    structlog.configure(processors=[*processors, events])
    return structlog.get_logger(), events.entries


def test_each_event_has_the_id_once_it_is_known(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """And nothing before, and outside of scopes; no event creates a session."""
    logger, events = logged_with(add_session)
    logger.info("outside")
    with manager.session() as session:
        logger.info("unread")
        assert sessions_api.posts == 0
        session_id = session.id
        logger.info("read")
        logger.info("mine", session_id="mine")
    logger.info("after")
    assert [(event["event"], event.get("session_id", "nothing")) for event in events] == [
        ("outside", "nothing"),
        ("unread", "nothing"),
        ("read", session_id),
        ("mine", "mine"),
        ("after", "nothing"),
    ]


def test_an_event_that_is_awaited_has_it(manager: SessionManager) -> None:
    """Its processors run in a thread."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
    logger, events = logged_with(add_session)

    async def main() -> str | None:
        async with manager.session() as session:
            session_id = await session.aid()
            await logger.ainfo("read")
            return session_id

    assert asyncio.run(main()) == events[0]["session_id"]


def test_fields_have_names_of_your_own(manager: SessionManager) -> None:
    """The key of the conversation is in an event only where that was asked for."""
    logger, events = logged_with(SessionAdder(fields={"hl_session": "id", "hl_key": "key"}))
    with manager.session(key="chat") as session:
        logger.info("unread")
        session_id = session.id
        logger.info("read")
    unread, read = ({name: event[name] for name in event if name.startswith("hl_")} for event in events)
    assert unread == {"hl_key": "chat"}
    assert read == {"hl_session": session_id, "hl_key": "chat"}
    with pytest.raises(ConfigurationError, match="'id' or 'key'"):
        SessionAdder(fields={"hl_session": "name"})  # type: ignore[dict-item]
