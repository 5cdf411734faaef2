"""DSPy."""

# /// script
# dependencies = ["dspy==3.4.1"]
# ///

import asyncio

import dspy
import dspy.utils.parallelizer
import pytest
from dspy.utils import DummyLM

from hl_sessions import SessionManager, bind, current_session_id
from tests.pages import run_block


class Reads(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str | None] = []

    def forward(self, question: str) -> dspy.Prediction:
        self.seen.append(current_session_id())
        return dspy.Prediction(answer=question)


EXAMPLES = [dspy.Example(question=question).with_inputs("question") for question in ("a", "b")]


def test_asyncify_and_predict(manager: SessionManager) -> None:
    seen: list[str | None] = []

    class Model(DummyLM):
        def forward(self, *args: object, **kwargs: object) -> object:
            seen.append(current_session_id())
            return super().forward(*args, **kwargs)

    module = Reads()
    with manager.session() as session, dspy.context(lm=Model([{"answer": "42"}])):
        dspy.Predict("question -> answer")(question="Why?")
        asyncio.run(dspy.asyncify(module)(question="Why?"))
    assert [*seen, *module.seen] == [session.id] * 2


def test_threads_of_parallel_batch_and_evaluate_have_none(manager: SessionManager) -> None:
    module = Reads()
    with manager.session():
        dspy.Parallel(num_threads=2)([(module, each) for each in EXAMPLES])
        module.batch(EXAMPLES, num_threads=2)
        dspy.Evaluate(devset=EXAMPLES, metric=lambda *_: True, num_threads=2)(module)
    assert module.seen == [None] * 6


def test_they_have_it_bound_or_by_the_executor(
    manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Reads()
    with manager.session() as session:
        dspy.Parallel(num_threads=2)([(bind(module), each) for each in EXAMPLES])
        monkeypatch.setattr(dspy.utils.parallelizer, "ThreadPoolExecutor", None)  # put back at the end
        run_block("agents.md", "DSPy")
        module.batch(EXAMPLES, num_threads=2)
        dspy.Evaluate(devset=EXAMPLES, metric=lambda *_: True, num_threads=2)(module)
    assert module.seen == [session.id] * 6
