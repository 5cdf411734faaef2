#!/usr/bin/env bash
#
# A taskiq label of None reaches the worker as the text "None", which is true; a dict as its Python repr.
#
# Expected: labels are JSON, as the message is: None is null, and None again in the worker; a dict is a dict.
#
# Seen: taskiq 0.13.0 keeps the type of int, str, float, bool and bytes only, and sends str() of anything else
# (taskiq/labels.py, prepare_label). A label that a middleware sets in `pre_send` passes by that, and stays
# what it was.
#
# Why it hurts: `task.kicker().with_labels(session_id=current)` outside of a session gives each job the
# session "None": all of them are one conversation, and `if message.labels.get("session_id")` does not help.
# Leave the label out instead.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check taskiq==0.13.0
"$folder/environment/bin/python" - <<'PYTHON'
import asyncio
from importlib.metadata import version

from taskiq import InMemoryBroker, TaskiqMiddleware

seen = {}


class Labels(TaskiqMiddleware):
    def pre_send(self, message):
        message.labels["by_middleware"] = None
        return message

    def pre_execute(self, message):
        seen.update(message.labels)
        return message


broker = InMemoryBroker().with_middlewares(Labels())


@broker.task
async def job() -> None:
    pass


async def main():
    await broker.startup()
    labels = {"session_id": None, "user": {"name": "Ada"}, "number": 3, "flag": False}
    task = await job.kicker().with_labels(**labels).kiq()
    await task.wait_result()
    await broker.shutdown()


asyncio.run(main())
print("taskiq", version("taskiq"), "the worker sees", seen)
assert seen == {
    "session_id": "None", "user": "{'name': 'Ada'}", "number": 3, "flag": False, "by_middleware": None,
}
PYTHON
