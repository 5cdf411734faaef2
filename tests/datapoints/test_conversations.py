"""Datapoints of conversations that are ended before there is a session."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hl_sessions import SessionManager
from hl_sessions.stores import ConversationStore, MemoryStore, SQLiteStore
from tests.datapoints.conftest import Stored
from tests.waiting import PATIENCE


@pytest.fixture(params=["memory", "SQLite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ConversationStore:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "conversations.sqlite3")


@pytest.mark.parametrize("ends_by", ["its key", "a handle"])
def test_each_of_several_conversations_has_its_session(
    ends_by: str,
    store: ConversationStore,
    make_logging_manager: Callable[..., SessionManager],
    stored: Stored,
) -> None:
    """All of them were begun and ended before the first datapoint was sent."""
    manager = make_logging_manager(store=store)
    for word in ("a", "b", "", "c", "d", "", "e", "f"):
        with manager.session(key="chat") as session:
            if word:
                manager.log(source=word)
            elif ends_by == "a handle":
                session.end()
            else:
                manager.end("chat")
    assert manager.flush(PATIENCE)
    session_of = {source: datapoint["session_id"] for source, datapoint in stored.by_source().items()}
    assert [session_of[word] for word in "ace"] == [session_of[word] for word in "bdf"]
    assert len({*session_of.values()}) == 3
    with manager.session(key="chat") as session:
        assert session.id == session_of["f"]
    store.close()


def test_what_is_logged_before_the_end_is_in_the_conversation(
    store: ConversationStore, make_logging_manager: Callable[..., SessionManager], stored: Stored
) -> None:
    """Of the scope that ends it, too."""
    manager = make_logging_manager(store=store)
    with manager.session(key="chat"):
        manager.log(source="question")
    with manager.session(key="chat") as session:
        manager.log(source="goodbye")
        session.end()
    assert manager.flush(PATIENCE)
    assert stored.sessions() == 1
    store.close()
