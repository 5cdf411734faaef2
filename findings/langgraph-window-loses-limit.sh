#!/usr/bin/env bash
#
# LangGraph's memory hands back a window of the last messages without its limit, and a Counter as a dict.
#
# Expected: InMemorySaver keeps the objects, or refuses those that it cannot keep. `deque` comes back as a `deque`, and
# so with its `maxlen`.
#
# Seen: with langgraph 1.2.24 and langgraph-checkpoint 4.3.2 a `deque(maxlen=2)` comes back without `maxlen`, and a
# Counter or a defaultdict as a dict (langgraph/checkpoint/serde/jsonplus.py; issues 8157 and 8184 of langgraph). There
# is no error and no warning. Within one call all nodes have the objects as they are.
#
# Why it hurts: a window of the last messages grows with each turn of the conversation, and all of it is sent and paid.
# A test with one turn sees what was meant. Keep lists and dicts in the state, and cut them in the node.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langgraph==1.2.24 langgraph-checkpoint==4.3.2
"$folder/venv/bin/python" - <<'PYTHON'
from collections import Counter, deque
from importlib.metadata import version
from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    window: Any
    words: Any
    message: str


def keep(state):
    kinds.append((type(state["window"]), type(state["words"])))
    state["window"].append(state["message"])
    return {"window": state["window"]}


kinds = []
builder = StateGraph(State)
builder.add_node("keep", keep)
builder.add_edge(START, "keep")
builder.add_edge("keep", END)
graph = builder.compile(checkpointer=InMemorySaver())
thread = {"configurable": {"thread_id": "chat-1"}}
first = {"window": deque(["zero", "one"], maxlen=2), "words": Counter(), "message": "two"}
turns = (first, {"message": "three"}, {"message": "four"})
windows = [list(graph.invoke(turn, thread)["window"]) for turn in turns]
print("langgraph", version("langgraph"), "a window of two messages:", windows)
print("types in the node:", [tuple(kind.__name__ for kind in turn) for turn in kinds])
assert windows == [["one", "two"], ["one", "two", "three"], ["one", "two", "three", "four"]]
assert kinds == [(deque, Counter), (deque, dict), (deque, dict)]
PYTHON
