#!/usr/bin/env bash
#
# Headers that are given to a Celery chain reach its first task only; in eager mode, as in tests, they reach all.
#
# Expected: `chain(...).apply_async(headers=...)` gives the headers to each task, as `group(...)` does, and eager mode
# does what the worker does.
#
# Seen: with Celery 5.7.0 the second and third task of a chain have no headers in the worker (celery/canvas.py,
# `_chain.run`, hands its options to the first task), and those of a group have them. With `task_always_eager` all tasks
# of the chain have them (`_chain.apply`).
#
# Why it hurts: a session that is handed on as a header is there in all tests, and in production the retrieval logs with
# it and the answer without. Give the headers to each signature (`.set(headers=...)`), or set them in a signal.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check celery==5.7.0 kombu==5.7.0
"$folder/environment/bin/python" - <<'PYTHON'
from importlib.metadata import version

from celery import Celery, chain, group
from celery.contrib.testing.worker import start_worker

app = Celery("app", broker="memory://", backend="cache+memory://")


@app.task(bind=True)
def step(self):
    seen.append((self.request.headers or {}).get("session_id"))


def sessions(canvas):
    seen.clear()
    canvas(*[step.si()] * 3).apply_async(headers={"session_id": "chat-1"}).get(timeout=30)
    return list(seen)


seen, found = [], {}
app.conf.task_always_eager = True
found["eager chain"] = sessions(chain)
app.conf.task_always_eager = False
with start_worker(app, pool="solo", perform_ping_check=False):
    found["chain"], found["group"] = sessions(chain), sessions(group)
print("celery", version("celery"), found)
assert found == {
    "eager chain": ["chat-1"] * 3, "chain": ["chat-1", None, None], "group": ["chat-1"] * 3,
}
PYTHON
