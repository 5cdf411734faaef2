#!/usr/bin/env bash
#
# An error of Portkey's client says that it is `openai.RateLimitError`, and `except openai.RateLimitError` misses it.
#
# Expected: Portkey's client takes the place of OpenAI's, so that the errors that code catches are the same: the class
# that a traceback names is the one that is caught.
#
# Seen: portkey-ai 2.3.4 has a copy of openai 2.30.0 inside (portkey_ai/_vendor/openai), whose classes name the module
# `openai`. With openai 3.57.0 installed beside it there are two classes of the name `openai.RateLimitError`.
# Portkey's own class, in portkey_ai/api_resources/exceptions.py, is a third one, and is not raised.
#
# Why it hurts: once OpenAI's client is replaced by Portkey's, fallbacks and retries are not taken any more, for an
# error that looks as if it were caught. What patches `openai`, as tracing does, sees no call, either. Catch the classes
# of `portkey_ai._vendor.openai`, or use OpenAI's client with Portkey's address.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  portkey-ai==2.3.4 openai==3.57.0 httpx==0.28.1
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import httpx
import openai
import portkey_ai
from portkey_ai.api_resources import exceptions


def refuse(request):
    return httpx.Response(429, json={"error": {"message": "Too many requests."}})


def ask(client):
    """What is raised, and whether it is OpenAI's error, or Portkey's own."""
    try:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Why?"}])
    except Exception as error:
        name = f"{type(error).__module__}.{type(error).__name__}"
        return name, isinstance(error, openai.RateLimitError), isinstance(error, exceptions.RateLimitError)


server = {"api_key": "key", "base_url": "http://server", "max_retries": 0}
found = {
    client.__name__: ask(client(**server, http_client=httpx.Client(transport=httpx.MockTransport(refuse))))
    for client in (openai.OpenAI, portkey_ai.Portkey)
}
print("portkey-ai", version("portkey-ai"), "openai", version("openai"), found)
assert found == {
    "OpenAI": ("openai.RateLimitError", True, False),
    "Portkey": ("openai.RateLimitError", False, False),
}
PYTHON
