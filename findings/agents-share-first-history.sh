#!/usr/bin/env bash
#
# Agents of Strands that begin with the same list of messages have one conversation; so have memories of LlamaIndex.
#
# Expected: the messages with which a conversation begins are copied. What one visitor says is in that conversation
# only, and the constant of the module stays as it is.
#
# Seen: `Agent(messages=START)` of strands-agents 1.62.0 keeps the list itself (strands/agent/agent.py) and adds to it,
# and so does `ChatMemoryBuffer.from_defaults(chat_history=START)` of llama-index-core 0.14.25 (its store's
# `set_messages`): the second visitor's model is sent what the first one has said and was answered. `Memory` of
# llama-index-core, the contexts of autogen-core 0.7.5 and the chats of google-genai 3.6.1 copy it.
#
# Why it hurts: an agent for each session is what keeps visitors apart, and examples of the right tone are often a
# constant. All conversations of the process are one, and each call sends and pays all of it. A test with one
# conversation sees nothing. Hand on `list(START)`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
for name in first second; do
  python3 -m venv "$folder/$name"
done
"$folder/first/bin/pip" install --quiet --disable-pip-version-check strands-agents==1.62.0
"$folder/second/bin/pip" install --quiet --disable-pip-version-check \
  llama-index-core==0.14.25 autogen-core==0.7.5 google-genai==3.6.1
"$folder/first/bin/python" - <<'PYTHON'
from importlib.metadata import version

from strands import Agent
from strands.models import Model


class Counts(Model):
    def update_config(self, **options): ...

    def get_config(self):
        return {}

    def structured_output(self, *arguments, **options): ...

    async def stream(self, messages, *arguments, **options):
        sent.append([message["content"][0]["text"] for message in messages])
        yield {"messageStart": {"role": "assistant"}}
        yield {"contentBlockDelta": {"delta": {"text": "Noted."}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn"}}


sent = []
START = [
    {"role": "user", "content": [{"text": "Be short."}]},
    {"role": "assistant", "content": [{"text": "Yes."}]},
]
first = Agent(model=Counts(), messages=START, callback_handler=None)
second = Agent(model=Counts(), messages=START, callback_handler=None)
first("I have moved to Berlin.")
second("Hello.")
print("strands-agents", version("strands-agents"), "the second agent's model was sent:", sent[1])
assert sent[1] == ["Be short.", "Yes.", "I have moved to Berlin.", "Noted.", "Hello."]
PYTHON
"$folder/second/bin/python" - <<'PYTHON'
import asyncio
from importlib.metadata import version

from autogen_core.model_context import UnboundedChatCompletionContext
from autogen_core.models import SystemMessage, UserMessage
from google import genai
from google.genai import types
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer, Memory

SAID = "I have moved to Berlin."


def of_llama_index(kind):
    start = [ChatMessage(role="system", content="Be short.")]
    first, second = (kind.from_defaults(chat_history=start, tokenizer_fn=str.split) for _ in range(2))
    first.put(ChatMessage(role="user", content=SAID))
    return [message.content for message in second.get_all()]


async def of_autogen():
    start = [SystemMessage(content="Be short.")]
    first, second = (UnboundedChatCompletionContext(initial_messages=start) for _ in range(2))
    await first.add_message(UserMessage(content=SAID, source="user"))
    return [message.content for message in await second.get_messages()]


def of_google_genai():
    def content(role, text):
        return types.Content(role=role, parts=[types.Part(text=text)])

    start = [content("user", "Be short."), content("model", "Yes.")]
    client = genai.Client(api_key="key")
    first, second = (client.chats.create(model="model", history=start) for _ in range(2))
    first.record_history(user_input=content("user", SAID), model_output=[content("model", "Noted.")], is_valid=True)
    return [item.parts[0].text for item in second.get_history()]


buffer = of_llama_index(ChatMemoryBuffer)
others = {
    "llama-index-core": of_llama_index(Memory), "autogen-core": asyncio.run(of_autogen()),
    "google-genai": of_google_genai(),
}
print("llama-index-core", version("llama-index-core"), "the second ChatMemoryBuffer has:", buffer)
for name, texts in others.items():
    print(name, version(name), "the second conversation has:", texts)
assert buffer == ["Be short.", SAID]
assert not any(SAID in texts for texts in others.values())
PYTHON
