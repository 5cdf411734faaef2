#!/usr/bin/env bash
#
# LangChain, pydantic-ai, Agno and smolagents add up the usage that a server tells with each chunk: 500 tokens for 100.
#
# Expected: a stream is one call, with one usage. If each chunk tells the usage so far, the last one counts.
#
# Seen: langchain-openai 1.7.4, pydantic-ai-slim 2.68.0, agno 3.1.10 and smolagents 1.26.0 add that of all chunks, the
# whole prompt once for each; pydantic-ai only unless `openai_continuous_usage_stats` is set. openai-agents 0.24.0 takes
# the last one. Servers that send it so are Gemini's with OpenAI's interface (issue 5122 of ogx) and Perplexity (pull
# request 6058 of agno).
#
# Why it hurts: the tokens of a call grow with the number of chunks times the prompt, tenfold and more. Budgets and
# limits end conversations that have cost little, and a model seems more expensive than another one only because of its
# server. Take the usage of the last chunk.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  openai==3.57.0 httpx2==2.16.2 langchain-openai==1.7.4 langchain-core==1.8.3 'pydantic-ai-slim[openai]==2.68.0' \
  agno==3.1.10 'smolagents[openai]==1.26.0' openai-agents==0.24.0
cat > "$folder/run.py" <<'PYTHON'
import asyncio
import json
import threading
from functools import reduce
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from operator import add

DELTAS = ({"role": "assistant", "content": ""}, {"content": "It "}, {"content": "rains"}, {"content": "."}, {})
QUESTION = "Rain?"


def chunk(number, delta):
    usage = {"prompt_tokens": 100, "completion_tokens": number, "total_tokens": 100 + number}
    choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
    return {
        "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], "usage": usage,
    }


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        chunks = [json.dumps(chunk(number, delta)) for number, delta in enumerate(DELTAS)]
        body = "".join(f"data: {text}\n\n" for text in (*chunks, "[DONE]")).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments): ...


def of_langchain(address):
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="m", api_key="key", base_url=address)
    usage = reduce(add, model.stream(QUESTION)).usage_metadata
    return usage["input_tokens"], usage["output_tokens"]


def of_pydantic_ai(address):
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async def ask():
        model = OpenAIChatModel("m", provider=OpenAIProvider(base_url=address, api_key="key"))
        async with Agent(model).run_stream(QUESTION) as result:
            await result.get_output()
            return result.usage.input_tokens, result.usage.output_tokens

    return asyncio.run(ask())


def of_agno(address):
    from agno.agent import Agent
    from agno.models.openai.like import OpenAILike

    agent = Agent(model=OpenAILike(id="m", base_url=address, api_key="key"), telemetry=False)
    *_, last = agent.run(QUESTION, stream=True, stream_events=True)
    return last.metrics.input_tokens, last.metrics.output_tokens


def of_smolagents(address):
    from smolagents import ChatMessage, OpenAIServerModel
    from smolagents.models import agglomerate_stream_deltas

    model = OpenAIServerModel(model_id="m", api_base=address, api_key="key")
    deltas = model.generate_stream([ChatMessage(role="user", content=QUESTION)])
    usage = agglomerate_stream_deltas(list(deltas)).token_usage
    return usage.input_tokens, usage.output_tokens


def of_openai_agents(address):
    from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
    from openai import AsyncOpenAI

    async def ask():
        set_tracing_disabled(True)
        model = OpenAIChatCompletionsModel("m", AsyncOpenAI(base_url=address, api_key="key"))
        result = Runner.run_streamed(Agent(name="chat", model=model), QUESTION)
        async for _ in result.stream_events():
            pass
        return result.context_wrapper.usage.input_tokens, result.context_wrapper.usage.output_tokens

    return asyncio.run(ask())


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
clients = {
    "langchain-openai": of_langchain, "pydantic-ai-slim": of_pydantic_ai, "agno": of_agno,
    "smolagents": of_smolagents, "openai-agents": of_openai_agents,
}
found = {name: client(address) for name, client in clients.items()}
for name, tokens in found.items():
    print(name, version(name), "tokens of the prompt and the answer:", tokens)
assert found == {**dict.fromkeys(clients, (500, 10)), "openai-agents": (100, 4)}
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
