#!/usr/bin/env bash
#
# LiteLLM's Router writes into its caller's metadata: calls that share a dict are logged as calls of another model.
#
# Expected: `metadata` is what the caller says of the call. The Router adds the model that it has picked to a copy.
#
# Seen: with litellm 1.110.2 `Router.acompletion` adds some 15 entries to the caller's dict (`shaping.py` in
# litellm/router_rust/invoke), and reads them when the call is logged, at its end: two calls at once with one dict
# are both logged as calls of the second one's model, group and deployment. Only the cost is that of the own one.
# With a dict for each call both are right.
#
# Why it hurts: a dict with the session that is made once for each request of a user is handed to all calls of that
# request, as to a small model that sorts and a large one that answers. Their tokens are counted for the wrong model,
# only where calls overlap or follow closely. Hand on `dict(metadata)`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check litellm==1.110.2
LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_LOG=ERROR "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
from importlib.metadata import version

import litellm
from litellm.integrations.custom_logger import CustomLogger


class Log(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        entry = kwargs["standard_logging_object"]
        answer = response_obj.choices[0].message.content
        logged[answer] = (entry["model_group"], entry["model_id"], entry["model"], entry["response_cost"])


def deployment(name, price):
    options = {
        "model": f"openai/{name}-model", "api_key": "key", "mock_response": f"answer of {name}",
        "mock_delay": 0.3 / price, "input_cost_per_token": price, "output_cost_per_token": price,
    }
    return {"model_name": name, "litellm_params": options, "model_info": {"id": f"{name}-deployment"}}


async def ask(shared):
    router = litellm.Router(model_list=[deployment("small", 1), deployment("large", 1000)])
    metadata = {"session": "session-1"}
    message = {"role": "user", "content": "Rain?"}
    options = [metadata if shared else dict(metadata) for _ in range(2)]
    await asyncio.gather(*(
        router.acompletion(model=name, messages=[message], metadata=own)
        for name, own in zip(("small", "large"), options, strict=True)
    ))
    while len(logged) < 2:
        await asyncio.sleep(0.05)
    return len(metadata)


logged = {}
litellm.callbacks = [Log()]
found = {}
for shared in (False, True):
    logged.clear()
    entries = asyncio.run(ask(shared))
    found[shared] = {answer: entry[:3] for answer, entry in logged.items()}
    print("litellm", version("litellm"), "one dict for both calls" if shared else "a dict for each call", end=": ")
    print(logged, "entries of the caller's dict:", entries)
small = ("small", "small-deployment", "openai/small-model")
large = ("large", "large-deployment", "openai/large-model")
assert found[False] == {"answer of small": small, "answer of large": large}
assert found[True] == {"answer of small": large, "answer of large": large}
PYTHON
