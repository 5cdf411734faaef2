#!/usr/bin/env bash
#
# An answer from LangChain's cache replaces the earlier one in LangGraph's history, which ends with the question.
#
# Expected: a cache saves the call, and nothing else. Each answer is a message of its own, and the last message of the
# state is the answer to the last question.
#
# Seen: with langchain-core 1.8.3 the message from the cache has the ID of the call that filled it
# (langchain_core/language_models/chat_models.py, `_convert_cached_generations`), and `add_messages` of langgraph 1.2.24
# takes a message of a known ID as a new version of the old one: "hi", "help", "hi" gives three questions and two
# answers, and the last message is the question. Without the cache there are three answers.
#
# Why it hurts: `state["messages"][-1]` is what the user has said, and it is shown and kept as the answer. Later calls
# are sent two questions in a row. It is so only where a prompt is repeated in one conversation: where each node sends
# no more than the last message, as routers and classifiers do. Add `answer.model_copy(update={"id": None})`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langchain-core==1.8.3 langgraph==1.2.24
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph


def history(cache):
    set_llm_cache(cache)
    model = GenericFakeChatModel(messages=iter([AIMessage(f"answer {number}") for number in (1, 2, 3)]))
    builder = StateGraph(MessagesState)
    builder.add_node("answer", lambda state: {"messages": [model.invoke(state["messages"][-1:])]})
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    graph = builder.compile(checkpointer=InMemorySaver())
    for question in ("hi", "help", "hi"):
        state = graph.invoke({"messages": [("user", question)]}, {"configurable": {"thread_id": "chat-1"}})
    return [message.content for message in state["messages"]]


without, cached = history(None), history(InMemoryCache())
print("langchain-core", version("langchain-core"), "langgraph", version("langgraph"), "without a cache:", without)
print("with a cache:", cached)
assert without == ["hi", "answer 1", "help", "answer 2", "hi", "answer 3"]
assert cached == ["hi", "answer 1", "help", "answer 2", "hi"]
PYTHON
