#!/usr/bin/env bash
#
# A NaN in what a FastAPI endpoint returns is an error 500, or null, depending on whether the function has a
# return type.
#
# Expected: an error 500 from both: JSON has no NaN.
#
# Seen: with fastapi 0.165.0 an endpoint without a return annotation fails (starlette/responses.py refuses
# NaN), and the same one with `-> dict` or a model answers 200 with null: with a type pydantic writes the
# JSON, without one the standard library does (fastapi/routing.py). A body of a request may have NaN in a
# float field, and is taken.
#
# Why it hurts: a score or a latency of nothing (0/0 in numpy) in a session's feedback breaks an endpoint; the
# type that somebody adds later for the documentation turns the visible error into a silent null, and taking
# it away turns it back.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check \
  fastapi==0.165.0 starlette==1.10.0 pydantic==2.14.4 httpx2==2.16.2
"$folder/environment/bin/python" - <<'PYTHON'
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

app = FastAPI()


class Score(BaseModel):
    score: float


@app.get("/without")
def without():
    return {"score": float("nan")}


@app.get("/with")
def with_type() -> dict:
    return {"score": float("nan")}


@app.post("/model")
def model(score: Score) -> Score:
    return score


client = TestClient(app, raise_server_exceptions=False)
found = [
    (answer.status_code, answer.text)
    for answer in (
        client.get("/without"),
        client.get("/with"),
        client.post("/model", content=b'{"score": NaN}', headers={"Content-Type": "application/json"}),
    )
]
print("fastapi", version("fastapi"), "without a type, with one, echoed through a model:", found)
assert found == [(500, "Internal Server Error"), (200, '{"score":null}'), (200, '{"score":null}')]
PYTHON
