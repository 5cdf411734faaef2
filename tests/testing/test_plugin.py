"""The plugin in runs of pytest of its own."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from tests.waiting import PATIENCE

pytest_plugins = ["pytester"]

APPLICATION = """
    from hl_sessions import current_session_id, log, with_session

    @with_session(key="chat")
    def answer(chat):
        log(project="support", output="fine")

    @with_session
    def read():
        return current_session_id()
"""


def test_a_failed_assertion_explains_itself(pytester: pytest.Pytester) -> None:
    """It says which sessions there are, of which conversation, and where they were read first."""
    pytester.makepyfile(
        shop=APPLICATION,
        test_shop="""
            import shop

            def test_answer(hl_sessions):
                shop.read()
                shop.answer("chat-1")
                assert hl_sessions.created == 1

            def test_none(hl_sessions):
                assert hl_sessions.created != 0

            def test_numbers(hl_sessions):
                assert 1 == 2
        """,
    )
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "E *assert 2 == 1",
            "E *sesh_test000000000000000001, first read in shop.py:9",
            "E *sesh_test000000000000000002 of the conversation 'chat-1', created for what was logged",
            "E *assert 0 != 0",
            "E *no session was created",
            "E *assert 1 == 2",
        ]
    )


def test_without_the_plugin(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test(hl_sessions): ...")
    result = pytester.runpytest("-p", "no:hl_sessions")
    result.stdout.fnmatch_lines(["E *fixture 'hl_sessions' not found"])


def test_a_run_that_does_not_use_it_pays_nothing() -> None:
    """The plugin is found by its entry point, and imports nothing that pytest has not imported already."""
    [plugin] = entry_points(group="pytest11", name="hl_sessions")
    assert plugin.value == "pytest_hl_sessions"
    code = (
        "import sys, typing, pytest; before = set(sys.modules)\n"
        "import pytest_hl_sessions; print(*set(sys.modules) - before)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert result.stdout.split() == ["pytest_hl_sessions"]
