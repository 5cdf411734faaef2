#!/usr/bin/env bash
#
# A conversation whose messages cannot be written goes on without them in LangChain and Agno, and nothing is raised.
#
# Expected: the call raises what the database has raised, as what was said is lost, and the caller can try again.
#
# Seen: under langchain-core 1.8.3 `RunnableWithMessageHistory` writes the messages in a callback, whose exceptions are
# a line of the log, "Error in RootListenersTracer.on_llm_end callback". agno 3.1.10 logs "Error upserting run into db".
# Both give the answer, and to the next question the model is sent nothing of what was said before. The session of
# openai-agents 0.24.0 raises.
#
# Why it hurts: while a database is full, locked or read-only, each user talks to a model that forgets every sentence,
# all requests succeed, and what was said in that time is in no history. Alert on these lines of the log, or write the
# messages in the application: langchain-core says that RunnableWithMessageHistory is to be replaced by LangGraph's
# memory.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  langchain-core==1.8.3 agno==3.1.10 "sqlalchemy[asyncio]==2.1.9" openai-agents==0.24.0 openai==3.57.0
cd "$folder"
"$folder/venv/bin/python" - >printed 2>&1 <<'PYTHON' || { cat printed; exit 1; }
import asyncio
import dataclasses
import sqlite3
from importlib.metadata import version

import agents
from agents.models.interface import Model as AgentsModel
from agno.agent import Agent
from agno.db.sqlite import SqliteDb
from agno.models.base import Model as AgnoModel
from agno.models.response import ModelResponse
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory
from openai.types.responses import ResponseOutputMessage, ResponseOutputText

ANSWER = "It rains."


def fill_disk(path):
    with sqlite3.connect(path) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if not table.startswith("sqlite_"):
                raises = "BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
                connection.execute(f"CREATE TRIGGER full_{table} BEFORE INSERT ON {table} {raises}")


class FullHistory(InMemoryChatMessageHistory):
    def add_messages(self, messages):
        raise sqlite3.OperationalError("disk is full")


def langchain():
    history = FullHistory()
    model = RunnableLambda(lambda messages: sent.append([m.content for m in messages]) or AIMessage(ANSWER))
    chat = RunnableWithMessageHistory(model, lambda session_id: history)
    configuration = {"configurable": {"session_id": "chat-1"}}
    return lambda question: chat.invoke([HumanMessage(question)], configuration).content


@dataclasses.dataclass
class Recorder(AgnoModel):
    id: str = "recorder"

    def invoke(self, messages, **options):
        sent.append([message.content for message in messages])
        return ModelResponse(role="assistant", content=ANSWER)

    def _parse_provider_response(self, response, **options):
        return response

    ainvoke = invoke_stream = ainvoke_stream = _parse_provider_response_delta = None


def agno():
    agent = Agent(model=Recorder(), db=SqliteDb(db_file="agno.sqlite"), add_history_to_context=True)
    agent.run("Hello", session_id="chat-0")
    sent.clear()
    fill_disk("agno.sqlite")
    return lambda question: agent.run(question, session_id="chat-1").content


class Model(AgentsModel):
    async def get_response(self, system_instructions, input, *arguments, **options):
        sent.append([item["content"] for item in input])
        text = ResponseOutputText(type="output_text", text=ANSWER, annotations=[])
        message = ResponseOutputMessage(
            id="message", type="message", role="assistant", status="completed", content=[text]
        )
        return agents.ModelResponse(output=[message], usage=agents.Usage(), response_id=None)

    def stream_response(self, *arguments, **options):
        raise NotImplementedError


def openai_agents():
    agents.set_tracing_disabled(True)
    session = agents.SQLiteSession("chat-1", "agents.sqlite")
    asyncio.run(session.get_items())
    fill_disk("agents.sqlite")
    agent = agents.Agent(name="bot", model=Model())
    return lambda question: asyncio.run(agents.Runner.run(agent, question, session=session)).final_output


sent, found = [], {}
for package, conversation in (("langchain-core", langchain), ("agno", agno), ("openai-agents", openai_agents)):
    sent.clear()
    ask, answers = conversation(), []
    for question in ("Rain in Oslo?", "And tomorrow?"):
        try:
            answers.append(ask(question))
        except sqlite3.DatabaseError as error:
            answers.append(str(error))
    found[package] = answers, [len(messages) for messages in sent]
    print(package, version(package), answers, "sent to the model:", sent)
assert found == {
    "langchain-core": ([ANSWER, ANSWER], [1, 1]),
    "agno": ([ANSWER, ANSWER], [1, 1]),
    "openai-agents": (["disk is full"] * 2, []),
}
PYTHON
grep "sent to the model" printed
