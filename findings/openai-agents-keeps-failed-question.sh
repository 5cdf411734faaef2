#!/usr/bin/env bash
#
# After a call of the model has failed, OpenAI's Agents SDK has the question in the session; who asks again asks twice.
#
# Expected: a run that raises leaves the session as it was, as there is no answer to keep; only the second try counts.
#
# Seen: with openai-agents 0.24.0 the session holds the question after `Runner.run` has raised, and the second try adds
# it again: the model is sent "Why?", "Why?", and both stay in the session, without an answer between them.
#
# Why it hurts: each overload, time-out or rate limit that is tried again leaves one more copy of the question, which is
# paid for in each later call, in a history that the user has not written. Take the items off again (`session.pop_item`)
# before another try, or let the client of the model retry.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check openai-agents==0.24.0 openai==3.57.0
"$folder/environment/bin/python" - <<'PYTHON'
import asyncio
from importlib.metadata import version

from agents import Agent, ModelResponse, Runner, SQLiteSession, Usage, set_tracing_disabled
from agents.models.interface import Model
from openai.types.responses import ResponseOutputMessage, ResponseOutputText

ANSWER = ResponseOutputMessage(
    id="message", type="message", role="assistant", status="completed",
    content=[ResponseOutputText(type="output_text", text="Because.", annotations=[])],
)


class OverloadedOnce(Model):
    def __init__(self):
        self.sent = []

    async def get_response(self, system_instructions, input, *arguments, **options):
        self.sent.append([item["content"] for item in input])
        if len(self.sent) == 1:
            raise RuntimeError("overloaded")
        return ModelResponse(output=[ANSWER], usage=Usage(), response_id=None)

    def stream_response(self, *arguments, **options):
        raise NotImplementedError


async def main():
    session, model = SQLiteSession("chat-1"), OverloadedOnce()
    agent = Agent(name="bot", model=model)
    try:
        await Runner.run(agent, "Why?", session=session)
    except RuntimeError:
        after_failure = len(await session.get_items())
    await Runner.run(agent, "Why?", session=session)
    return after_failure, model.sent, [item["role"] for item in await session.get_items()]


set_tracing_disabled(True)
found = asyncio.run(main())
print("openai-agents", version("openai-agents"), found)
assert found == (1, [["Why?"], ["Why?", "Why?"]], ["user", "user", "assistant"])
PYTHON
