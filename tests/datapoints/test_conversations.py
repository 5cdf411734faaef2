"""Datapoints of conversations that are ended before there is a session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    ended = [stored.get(f"/sessions/{session_of[word]}").get("ended_at") is not None for word in "ace"]
    assert ended == [True, True, False]
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


@pytest.mark.parametrize("ends_by", ["its key", "a handle"])
def test_what_waits_at_the_end_is_in_the_ended_conversation(
    ends_by: str,
    store: ConversationStore,
    make_logging_manager: Callable[..., SessionManager],
    stored: Stored,
) -> None:
    """And so is what the scope that ends it logs later; the next session comes after that one."""
    manager = make_logging_manager(store=store)
    with manager.session(key="chat"):
        manager.log(source="question")
    assert manager.flush(PATIENCE)
    with manager.session(key="chat"):
        manager.log(source="last word")
    with manager.session(key="chat") as session:
        if ends_by == "a handle":
            session.end()
            manager.log(source="goodbye")
        else:
            manager.end("chat")
    with manager.session(key="chat"):
        manager.log(source="new question")
    assert manager.flush(PATIENCE)
    session_of = {source: datapoint["session_id"] for source, datapoint in stored.by_source().items()}
    new = session_of.pop("new question")
    [former] = {*session_of.values()}
    assert stored.get(f"/sessions/{new}")["previous_id"] == former
    assert stored.get(f"/sessions/{former}")["ended_at"] is not None
    store.close()


@pytest.mark.parametrize("reads", [False, True])
def test_an_ended_handle_that_is_read_has_the_session_of_its_datapoints(
    reads: Any,
    store: ConversationStore,
    make_logging_manager: Callable[..., SessionManager],
    stored: Stored,
) -> None:
    """Also if the conversation had no session at its end, and others log in it."""
    manager = make_logging_manager(store=store)
    with manager.session(key="chat"):
        manager.log(source="question")
    with manager.session(key="chat") as session:
        session.end()
        if reads:
            assert session.id
        manager.log(source="goodbye")
        assert manager.flush(PATIENCE)
        assert session.id == stored.by_source()["question"]["session_id"]
    assert stored.sessions() == 1
    store.close()
