#!/usr/bin/env bash
#
# What a generator returns is None once the generator is traced by MLflow, LangWatch, DeepEval, Braintrust or Logfire.
#
# Expected: `usage = yield from answer()` has what `answer` returns, with a tracing decorator as without one.
#
# Seen: with mlflow-skinny 3.17.2, langwatch 1.4.0, deepeval 4.3.1, braintrust 0.48.1 and logfire 5.4.0 it is None, as
# their wrappers hand on what is yielded and no more; DeepEval's takes the value itself as the output of the span. With
# langfuse 5.0.4, langsmith 0.15.1 and opik 2.2.122 it is there.
#
# Why it hurts: a step of an agent yields the words as they come and returns the whole answer, its calls of tools or its
# tokens, for the step above it to go on with: there it is an answer without text, or an error far away from the
# decorator that has been added, and nothing is wrong with the stream that the user sees. Hand on such a value by what
# is yielded.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat >"$folder/generator.py" <<'PYTHON'
import logging
import os
import sys
from importlib.metadata import version

NOBODY = "http://127.0.0.1:9"


def decorator(name):
    if name == "mlflow-skinny":
        os.environ.update(MLFLOW_ALLOW_FILE_STORE="true", MLFLOW_TRACKING_URI="mlruns")
        import mlflow

        return mlflow.trace
    if name == "langwatch":
        import langwatch

        langwatch.setup(api_key="key", endpoint_url=NOBODY)
        return langwatch.trace()
    if name == "deepeval":
        os.environ.update(DEEPEVAL_TELEMETRY_OPT_OUT="1")
        from deepeval.tracing import observe

        return observe()
    if name == "braintrust":
        import braintrust

        braintrust.init_logger(project="chat", api_key="key", app_url=NOBODY)
        return braintrust.traced
    if name == "logfire":
        import logfire

        logfire.configure(send_to_logfire=False, console=False)
        return logfire.instrument(allow_generator=True)
    if name == "langfuse":
        import langfuse

        langfuse.Langfuse(public_key="key", secret_key="key", base_url=NOBODY)
        return langfuse.observe()
    if name == "langsmith":
        os.environ.update(LANGSMITH_TRACING="true", LANGSMITH_API_KEY="key", LANGSMITH_ENDPOINT=NOBODY)
        import langsmith

        return langsmith.traceable
    os.environ.update(OPIK_URL_OVERRIDE=NOBODY)
    import opik

    return opik.track


def answer():
    yield "It "
    yield "rains."
    return {"tokens": 2}


def step(words):
    usage = yield from words()
    returned.append(usage)


name = sys.argv[1]
logging.disable()
returned = []
shown = [list(step(function)) for function in (answer, decorator(name)(answer))]
print(name, version(name), "without:", returned[0], "traced:", returned[1])
sys.stdout.flush()
expected = {"tokens": 2} if name in ("langfuse", "langsmith", "opik") else None
os._exit(0 if shown == [["It ", "rains."]] * 2 and returned == [{"tokens": 2}, expected] else 1)
PYTHON
cd "$folder"
ask() {
  python3 -m venv --clear "$folder/venv"
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"
  for package in "$@"; do
    "$folder/venv/bin/python" generator.py "${package%%==*}" >printed 2>errors || { cat printed errors; exit 1; }
    grep "traced:" printed
  done
}
ask mlflow-skinny==3.17.2 langwatch==1.4.0 deepeval==4.3.1
ask braintrust==0.48.1 logfire==5.4.0 langfuse==5.0.4 langsmith==0.15.1 opik==2.2.122
