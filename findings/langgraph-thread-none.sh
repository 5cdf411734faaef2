#!/usr/bin/env bash
#
# In LangGraph the thread None is a thread like others: all callers that have none share one memory.
#
# Expected: without a `thread_id` a checkpointer raises ValueError, so `thread_id=None` raises it, too, or it is a run
# without a memory.
#
# Seen: with LangGraph 1.2.24 and its InMemorySaver, a run with None begins with the state that the run before left,
# whoever made it. `get_state` with the same configuration finds nothing. A missing `thread_id` raises ValueError. (A
# run makes a text of an ID unless it is None or empty, langgraph/pregel/_loop.py; `get_state` makes one of each,
# main.py.)
#
# Why it hurts: an ID that is not known yet is None, as in the first request of each visitor. Then the model answers
# with what another visitor has written, and a look at the state of that thread shows none.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langgraph==1.2.24 langgraph-checkpoint==4.3.2

cat > "$folder/run.py" <<'PYTHON'
import operator
from typing import Annotated, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    asked: Annotated[list[str], operator.add]


builder = StateGraph(State)
builder.add_node("answer", lambda state: {})
builder.add_edge(START, "answer")
builder.add_edge("answer", END)
graph = builder.compile(checkpointer=InMemorySaver())

nobody = {"configurable": {"thread_id": None}}
graph.invoke({"asked": ["what Alice asks"]}, nobody)
of_bob = graph.invoke({"asked": ["what Bob asks"]}, nobody)
found = graph.get_state(nobody).values
print("the run of Bob:", of_bob, "get_state:", found)
assert of_bob == {"asked": ["what Alice asks", "what Bob asks"]}
assert found == {}
try:
    graph.invoke({"asked": ["what Carol asks"]}, {"configurable": {}})
except ValueError as error:
    print("without a thread_id:", error)
else:
    raise AssertionError("a run without a thread_id was possible")
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
