"""Two scopes at once."""

import threading
from collections.abc import Callable

from hl_sessions import SessionManager
from tests.waiting import PATIENCE, in_threads


def answered_at_once(manager: SessionManager, answer: Callable[[str], object]) -> dict[str, str | None]:
    """Return the IDs of two sessions, in which two threads have asked "a" and "b" at the same time."""
    both = threading.Barrier(2)
    questions = iter("ab")

    def ask() -> tuple[str, str | None]:
        question = next(questions)
        with manager.session() as session:
            both.wait(PATIENCE)
            answer(question)
            both.wait(PATIENCE)
            return question, session.id

    ids = dict(future.result(PATIENCE) for future in in_threads(ask, 2))
    assert len({*ids.values()}) == 2
    return ids
