"""LiteLLM."""

# /// script
# dependencies = ["litellm==1.110.2"]
# ///

from functools import partial
from typing import Any

import litellm
import pytest
from litellm.litellm_core_utils import thread_pool_executor

from crossings.at_once import answered_at_once
from hl_sessions import SessionManager, current_session_id
from tests.pages import run_block
from tests.waiting import wait_until

QUESTION = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Why?"}], "mock_response": "because"}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The IDs that success callbacks have read."""
    seen: list[str | None] = []

    def on_success(kwargs: Any, response: Any, start: Any, end: Any) -> None:
        seen.append(current_session_id())

    monkeypatch.setattr(litellm, "success_callback", [on_success])
    return seen


def test_the_callback_of_a_completion_has_the_session(
    manager: SessionManager, seen: list[str | None]
) -> None:
    with manager.session() as session:
        litellm.completion(**QUESTION)
        wait_until(lambda: seen)
    assert {*seen} == {session.id}


def test_that_of_a_stream_has_none_unless_the_executor_binds(
    manager: SessionManager, seen: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = thread_pool_executor.executor
    monkeypatch.setattr(executor, "submit", executor.submit)  # put back at the end
    with manager.session() as session:
        list(litellm.completion(**QUESTION, stream=True))
        wait_until(lambda: seen)
        assert {*seen} == {None}
        seen.clear()
        run_block("agents.md", "LiteLLM")
        list(litellm.completion(**QUESTION, stream=True))
        wait_until(lambda: session.id in seen)


def test_the_session_is_the_trace_of_a_completion(
    manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = []

    def on_success(kwargs: Any, response: Any, start: Any, end: Any) -> None:
        logged.append((kwargs["messages"][0]["content"], kwargs["standard_logging_object"]["trace_id"]))

    monkeypatch.setattr(litellm, "success_callback", [on_success])
    monkeypatch.setattr(litellm, "completion", partial(litellm.completion, mock_response="because"))
    answer = run_block("logs-and-traces.md", "LiteLLM")["answer"]
    ids = answered_at_once(manager, answer)
    assert answer("c") == "because"
    wait_until(lambda: len(logged) == 3)
    traces = dict(logged)
    assert {question: traces[question] for question in ids} == ids
    assert traces["c"] not in ids.values()
