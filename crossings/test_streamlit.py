"""Streamlit."""

# /// script
# dependencies = ["streamlit==1.67.0"]
# ///

from streamlit.testing.v1 import AppTest

from hl_sessions import SessionManager
from tests.waiting import PATIENCE


def script() -> None:
    import streamlit as st

    from hl_sessions import current_session_id
    from tests.pages import run_block

    st.text(str(current_session_id()))
    st.text(run_block("chat-pages.md", "Streamlit")["answer"]("Hello"))


def test_a_script_has_none_and_what_is_decorated_one_for_each_page(manager: SessionManager) -> None:
    pages = [AppTest.from_function(script, default_timeout=PATIENCE) for _ in range(2)]
    answers = []
    with manager.session():
        for page in (*pages, pages[0]):
            page.run()
            assert not page.exception
            outside, answer = (text.value for text in page.text)
            assert outside == "None"
            answers.append(answer)
    assert answers[0] == answers[2] != answers[1]
    assert all(answer.startswith("sesh_") for answer in answers)
