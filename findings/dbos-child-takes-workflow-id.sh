#!/usr/bin/env bash
#
# The ID of a DBOS workflow may be that of a child of another one: it then returns the child's result, and does not run.
#
# Expected: the ID of an own workflow is taken only if the application has used it before. Children that it starts
# without an ID are given one that nothing else has.
#
# Seen: DBOS 3.4.0 gives the first child of `user-1` the ID `user-1-1` (dbos/_context.py, `child_workflow_id`). A
# workflow of the same function that the application runs as `user-1-1` does not run, and returns what the child has
# returned, for another question. In the other order the parent gets the result of the application's workflow. A
# workflow of another function is refused.
#
# Why it hurts: IDs made of a user's and a chat's number are the obvious ones, and a chat is answered with what another
# one has asked; it depends on the number of steps before the child. Let IDs end with something else than a number after
# a hyphen, as `chat:1` does, or begin with a random part.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dbos==3.4.0
cat > "$folder/run.py" <<'PYTHON'
from importlib.metadata import version

from dbos import DBOS, SetWorkflowID

config = {
    "name": "chat", "system_database_url": "sqlite:///system.sqlite", "run_admin_server": False,
    "log_level": "ERROR",
}
DBOS(config=config)


@DBOS.workflow()
def answer(question):
    ran.append(question)
    return f"answer to {question}"


@DBOS.workflow()
def talk(question):
    return answer(question)


def run(workflow_id, function, question):
    with SetWorkflowID(workflow_id):
        return function(question)


ran = []
DBOS.launch()
found = [
    run("user-1", talk, "a question of user 1"),
    run("user-1-1", answer, "another question"),
    run("user-2-1", answer, "a third question"),
    run("user-2", talk, "a question of user 2"),
]
DBOS.destroy()
print("dbos", version("dbos"), *found, f"ran: {ran}", sep="\n")
assert found == ["answer to a question of user 1"] * 2 + ["answer to a third question"] * 2
assert ran == ["a question of user 1", "a third question"]
PYTHON
cd "$folder"
"$folder/venv/bin/python" run.py
