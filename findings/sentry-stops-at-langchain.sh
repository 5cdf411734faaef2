#!/usr/bin/env bash
#
# Once LangChain is installed, Sentry traces no call of OpenAI's or Anthropic's client any more, whoever makes it.
#
# Expected: a package that is installed and never used changes nothing: what the application asks OpenAI's client is
# traced as before. Calls that LangChain makes are not counted twice.
#
# Seen: sentry-sdk 2.75.0 turns its integrations for OpenAI and Anthropic off if langchain-core can be imported
# (`_INTEGRATION_DEACTIVATES` in sentry_sdk/integrations/__init__.py), and says so at DEBUG only. With langchain-core
# 1.8.3 beside openai 3.57.0 and anthropic 2.14.0 direct calls have no spans; they do if `init` names the integrations.
#
# Why it hurts: LangChain comes with other packages, for evaluation, retrieval or MCP. The calls and tokens of a model
# end on the day of such an update, and nothing fails. Name the integrations in `sentry_sdk.init`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  sentry-sdk==2.75.0 openai==3.57.0 anthropic==2.14.0 httpx2==2.16.2
cat > "$folder/run.py" <<'PYTHON'
import sys
from importlib.metadata import version

import httpx2
import sentry_sdk
from anthropic import Anthropic
from openai import OpenAI
from sentry_sdk.integrations.anthropic import AnthropicIntegration
from sentry_sdk.integrations.openai import OpenAIIntegration

MESSAGES = [{"role": "user", "content": "Rain?"}]


def answer(request):
    if "completions" in request.url.path:
        choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
        whole = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    else:
        whole = {
            "id": "1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "Yes."}], "usage": {"input_tokens": 1, "output_tokens": 1},
        }
    return httpx2.Response(200, json=whole)


def new_client(client_class):
    http_client = httpx2.Client(transport=httpx2.MockTransport(answer))
    return client_class(api_key="key", base_url="http://server", http_client=http_client)


installed, named, expected = sys.argv[1:]
spans = []
sentry_sdk.init(
    "http://key@127.0.0.1:1/1", traces_sample_rate=1,
    integrations=[OpenAIIntegration(), AnthropicIntegration()] if named == "named" else [],
    before_send_transaction=lambda event, hint: spans.extend(event["spans"]),
)
with sentry_sdk.start_transaction(name="chat"):
    new_client(OpenAI).chat.completions.create(model="m", messages=MESSAGES)
    new_client(Anthropic).messages.create(model="m", messages=MESSAGES, max_tokens=9)
found = sum(span["op"].startswith("gen_ai.") for span in spans)
print("sentry-sdk", version("sentry-sdk"), f"{installed}, integrations {named}: {found} of 2 calls are traced")
assert found == int(expected)
PYTHON
"$folder/venv/bin/python" "$folder/run.py" "without LangChain" "not named" 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langchain-core==1.8.3
"$folder/venv/bin/python" "$folder/run.py" "with langchain-core 1.8.3" "not named" 0
"$folder/venv/bin/python" "$folder/run.py" "with langchain-core 1.8.3" "named" 2
