#!/usr/bin/env bash
#
# Lunary's decorators take the arguments user_id, user_props, metadata, tags and parent away from the function.
#
# Expected: a function that is decorated for tracing gets all that it is called with.
#
# Seen: with lunary 1.4.41 `@lunary.chain()`, `@lunary.agent()` and `@lunary.tool()` take what is given by these names
# for themselves and call the function without it (`wrap` in lunary/__init__.py): it runs with its defaults, or raises
# TypeError where it has none. By position they arrive. With `stream=True` the caller gets a generator, whatever the
# function returns, that reads the result as the chunks of OpenAI's client: here AttributeError.
#
# Why it hurts: `user_id`, `metadata` and `stream` are what such functions call their parameters. The answer is made for
# nobody, a tool looks up the orders of user None, what was to be kept in the metadata is not; nothing fails where a
# default is there, and only a call by keyword is concerned. Name them in another way, or decorate a function without
# them.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check lunary==1.4.41
"$folder/venv/bin/python" - 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import os
import sys
from importlib.metadata import version

import lunary


def answer(question, user_id=None, user_props=None, metadata=None, tags=None, parent=None, stream=False):
    return user_id, user_props, metadata, tags, parent, stream


def orders(*, user_id):
    return f"orders of {user_id}"


def call(function, *arguments, **options):
    try:
        result = function(*arguments, **options)
        return result if isinstance(result, (str, tuple)) else list(result)
    except Exception as error:
        return type(error).__name__


lunary.config(app_id="11111111-1111-4111-8111-111111111111", api_url="http://127.0.0.1:9")
given = {"user_id": "user-1", "user_props": {"name": "Ada"}, "metadata": {"chat": 1}, "tags": ["a"], "parent": "run-1"}
found = {}
for kind in (lunary.chain, lunary.agent, lunary.tool):
    found[kind.__name__] = [
        call(kind()(answer), "Rain?", **given),
        call(kind()(answer), "Rain?", *given.values()),
        call(kind()(orders), user_id="user-1"),
        call(kind()(answer), "Rain?", stream=True),
    ]
    print("lunary", version("lunary"), kind.__name__, *found[kind.__name__])
assert call(answer, "Rain?", **given) == (*given.values(), False)
expected = [(None, None, None, None, None, False), (*given.values(), False), "TypeError", "AttributeError"]
sys.stdout.flush()
os._exit(0 if found == dict.fromkeys(("chain", "agent", "tool"), expected) else 1)
PYTHON
