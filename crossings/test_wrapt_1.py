"""The oldest wrapt that this package takes."""

# /// script
# dependencies = ["wrapt==1.16.0"]
# ///

import inspect

from hl_sessions import SessionManager, bind, current_session_id, with_session


def test_decorated_and_bound_functions_have_the_session(manager: SessionManager) -> None:
    @with_session(manager=manager)
    def answer(question: str) -> tuple[str, str | None]:
        return question, bind(current_session_id)()

    assert str(inspect.signature(answer)) == "(question: str) -> tuple[str, str | None]"
    assert type(answer).__annotations__ is not None
    assert answer.__annotations__["question"] is str
    question, session_id = answer("?")
    assert question == "?"
    assert session_id is not None
