#!/usr/bin/env bash
#
# An error within a stream is a regular end for LangChain's models of Mistral, Fireworks, Perplexity and NVIDIA.
#
# Expected: a server that fails after its first words, when the status 200 is sent already, sends `{"error": ...}` as an
# event, as vLLM does (issue 743 of guidellm). The client raises, as those of OpenAI, Mistral and Groq do.
#
# Seen: langchain-mistralai 1.1.6, langchain-fireworks 1.7.1, langchain-perplexity 1.4.2 and
# langchain-nvidia-ai-endpoints 1.5.0 leave out each event without `choices` (such as `_stream` in
# langchain_mistralai/chat_models.py): the stream ends, with half an answer and no error. langchain-openai 1.7.4 and
# langchain-groq 1.1.3 raise.
#
# Why it hurts: half an answer is shown, kept and sent again with the next question, and no retry and no fallback takes
# place; it is so under load only. Look for a `finish_reason` in the last chunk.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  langchain-core==1.8.3 langchain-mistralai==1.1.6 langchain-fireworks==1.7.1 langchain-perplexity==1.4.2 \
  langchain-nvidia-ai-endpoints==1.5.0 langchain-openai==1.7.4 langchain-groq==1.1.3
cat > "$folder/run.py" <<'PYTHON'
import json
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from langchain_fireworks import ChatFireworks
from langchain_groq import ChatGroq
from langchain_mistralai import ChatMistralAI
from langchain_nvidia_ai_endpoints import ChatNVIDIA
from langchain_openai import ChatOpenAI
from langchain_perplexity import ChatPerplexity


def chunk(text):
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


ERROR = {"error": {"message": "overloaded", "type": "server_error", "code": 503, "param": None}}
EVENTS = [json.dumps(event) for event in (chunk("It "), chunk("rains"), ERROR)]
BODY = "".join(f"data: {event}\n\n" for event in (*EVENTS, "[DONE]")).encode()


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *arguments): ...


def outcome(model):
    text = ""
    try:
        for piece in model.stream("Rain?"):
            text += piece.content
    except Exception as error:
        return text, str(error)
    return text, None


warnings.simplefilter("ignore")
server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
root = f"http://127.0.0.1:{server.server_port}"
options = {"model": "m", "api_key": "key"}
perplexity = ChatPerplexity(**options)
perplexity.client = perplexity.client.with_options(base_url=root)
models = {
    "langchain-mistralai": ChatMistralAI(**options, endpoint=f"{root}/v1"),
    "langchain-fireworks": ChatFireworks(**options, base_url=f"{root}/v1"),
    "langchain-perplexity": perplexity,
    "langchain-nvidia-ai-endpoints": ChatNVIDIA(**options, base_url=f"{root}/v1"),
    "langchain-openai": ChatOpenAI(**options, base_url=f"{root}/v1"),
    "langchain-groq": ChatGroq(**options, base_url=root),
}
found = {name: outcome(model) for name, model in models.items()}
for name, (text, error) in found.items():
    print(name, version(name), repr(text), "error:", error)
raising = {"langchain-openai", "langchain-groq"}
assert found == {name: ("It rains", "overloaded" if name in raising else None) for name in models}
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
