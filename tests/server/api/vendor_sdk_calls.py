"""Walks through a server with the vendor's SDK: ``python vendor_sdk_calls.py BASE_URL API_KEY``.

It runs with either generation of the SDK, 0.5 or 0.7, without asyncio and with it.
"""

import asyncio
import json
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

from humanloop import Humanloop

HAS_LISTS_OF_LOGS = find_spec("humanloop.paths.logs.get") is not None
"""Whether this is 0.7, which reads, lists and deletes logs, and checks answers when told to."""

Call = Callable[..., Awaitable[Any]]


async def call(part: Any, method: str, **arguments: Any) -> Any:
    """Make a call without asyncio."""
    return plain(getattr(part, method)(**checked(arguments)))


async def acall(part: Any, method: str, **arguments: Any) -> Any:
    """Make the same call with asyncio."""
    return plain(await getattr(part, f"a{method}")(**checked(arguments)))


def checked(arguments: dict[str, Any]) -> dict[str, Any]:
    return arguments | ({"validate": True} if HAS_LISTS_OF_LOGS else {})


def plain(answer: Any) -> Any:
    """Return an answer as JSON, regardless of how the SDK wraps it."""
    if isinstance(answer, list):
        return [plain(entry) for entry in answer]
    return answer.model_dump() if hasattr(answer, "model_dump") else getattr(answer, "body", answer)


async def walk(client: Any, call: Call, project: str) -> None:
    """Make every call of the protocol that the SDK has."""
    session_id = (await call(client.sessions, "create"))["id"]
    log = await call(
        client.logs,
        "log",
        project=project,
        session_id=session_id,
        reference_id=f"{project} log",
        inputs={"question": "Why?"},
        messages=[{"role": "user", "content": "Why?"}],
        output="Because",
        source="test",
        metadata={"user": "7"},
        config={
            "type": "model",
            "model": "gpt-4",
            "prompt_template": "{{question}}",
            "tools": [{"name": "search", "description": "", "parameters": {}}],
        },
        feedback={"type": "rating", "value": "good"},
        created_at=datetime(2025, 9, 8, 12, tzinfo=timezone.utc),
    )
    assert log["session_id"] == session_id
    config = {"type": "tool", "name": "search"} if HAS_LISTS_OF_LOGS else {"type": "generic"}
    nested = {"project_id": log["project_id"], "inputs": {}, "config": config}
    [by_id] = await call(client.logs, "log", body=[{**nested, "parent_id": log["id"]}])
    by_reference = await call(client.logs, "log", **nested, parent_reference_id=f"{project} log")
    assert by_id["session_id"] == by_reference["session_id"] == session_id
    other = await call(
        client.logs, "log", **nested, session_reference_id=f"{project} conversation", error="broken"
    )
    assert other["session_id"] != session_id

    updated = await call(client.logs, "update", id=log["id"], output="It is so", duration=1.5)
    assert updated["output"] == "It is so"
    assert updated["config"]["model"] == "gpt-4"
    assert updated["feedback"][0]["id"].startswith("ann_")
    late = await call(client.logs, "update_by_ref", reference_id=f"{project} log", error="late")
    assert (late["id"], late["error"]) == (log["id"], "late")

    one = await call(client.feedback_api, "feedback", type="issue", value="slow", data_id=log["id"])
    assert one["id"].startswith("ann_")
    two = await call(
        client.feedback_api,
        "feedback",
        body=[{"type": "rating", "value": value, "data_id": by_id["id"]} for value in ("good", "bad")],
    )
    assert [feedback["value"] for feedback in two] == ["good", "bad"]
    await call(client.feedback_api, "feedback", type="issue", data_id=log["id"], unset=True)

    session = await call(client.sessions, "get", id=session_id)
    assert session["datapoints_count"] == 3
    assert session["first_inputs"] == {"question": "Why?"}
    assert session["projects"][0]["name"] == project
    page = await call(client.sessions, "list", project_id=log["project_id"], page=1, size=10)
    assert [record["id"] for record in page["records"]] == [other["session_id"], session_id]

    created = await call(client.projects, "create", name=f"{project} 2")
    assert (await call(client.projects, "get", id=created["id"]))["data_count"] == 0
    assert (await call(client.projects, "update", id=created["id"], name=f"{project} 3"))["id"] == created[
        "id"
    ]
    listed = await call(client.projects, "list", page=0, size=10, filter=project, sort_by="name", order="asc")
    assert [record["name"] for record in listed["records"]] == [project, f"{project} 3"]

    await read_what_is_newer(client, call)

    if HAS_LISTS_OF_LOGS:
        await walk_through_logs(client, call, log)
        await call(client.projects, "delete", id=created["id"])
        listed = await call(client.projects, "list", filter=project)
        assert [record["name"] for record in listed["records"]] == [project]


async def read_what_is_newer(client: Any, call: Call) -> None:
    """Read values that the SDK does not know, and could not send; its checks of the answer pass."""
    newer = {
        "messages": [
            {"role": "developer", "content": "Be brief", "refusal": None},
            {
                "role": "user",
                "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}],
            },
            {"role": "function", "content": {"weather": "fine"}},
        ],
        "output_message": {
            "role": "assistant",
            "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "run", "input": "1"}}],
        },
        "config": {
            "model": "newest",
            "provider": "nobody",
            "seed": 2**64,
            "tools": [{"type": "web_search"}],
            "response_format": {"type": "grammar"},
            "reasoning_effort": "high",
        },
        "judgment": 10**400,
        "metadata": {"text": "\0 \ud800"},
    }
    created = log_without_the_sdk({"project": "newer", **newer})
    log = await call(client.logs, "update", id=created["id"], output="done")
    assert log["config"]["other"]["provider"] == "nobody"
    assert log["config"]["tools"][0]["name"] == "web_search"
    assert [message["role"] for message in log["messages"]] == ["system", "user", "tool"]
    assert log["judgment"] == 10**400
    assert log["metadata"] == {"text": "\ufffd \ufffd"}


def log_without_the_sdk(log: dict[str, Any]) -> Any:
    base_url, api_key = sys.argv[1:]
    headers = {"X-API-KEY": api_key}
    request = urllib.request.Request(f"{base_url}/logs", json.dumps(log).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


async def walk_through_logs(client: Any, call: Call, log: dict[str, Any]) -> None:
    """Make the calls that are new in 0.7: read, find and delete the four logs of the project."""

    async def find(**arguments: Any) -> list[str]:
        page = await call(client.logs, "list", project_id=log["project_id"], **arguments)
        return [record["id"] for record in page["records"]]

    got = await call(client.logs, "get", id=log["id"])
    assert (got["output"], got["error"], got["duration"]) == ("It is so", "late", 1.5)
    assert len(await find()) == 4
    assert await find(search="WHY?", metadata_search="7") == [log["id"]]
    assert await find(end_date="2025-09-08") == [log["id"]]
    on_the_hour = "2025-09-08T14:00:00+02:00"
    assert await find(start_date=on_the_hour, end_date=on_the_hour) == [log["id"]]
    first, second, *_ = await find(page=0, size=2)
    assert await find(page=1, size=2) == [first, second]
    await call(client.logs, "delete", id=[first, second])
    assert len(await find(page=1, size=10)) == 2


def run_without_asyncio(walking: Any) -> None:
    """Run a coroutine that never waits for anything."""
    try:
        walking.send(None)
    except StopIteration:
        return
    raise AssertionError


if __name__ == "__main__":
    base_url, api_key = sys.argv[1:]
    humanloop = Humanloop(host=base_url, api_key=api_key, openai_api_key="sk-of-the-user")
    run_without_asyncio(walk(humanloop, call, uuid4().hex))
    asyncio.run(walk(humanloop, acall, uuid4().hex))
    # The shortest way to log, as in the vendor's examples.
    assert plain(humanloop.log(project="sdk", inputs={}, output="1", config={"type": "model", "model": "m"}))[
        "id"
    ]
