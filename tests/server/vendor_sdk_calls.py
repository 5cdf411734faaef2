"""Calls a server with the vendor's SDK: ``python vendor_sdk_calls.py BASE_URL API_KEY``."""

import asyncio
import sys
from typing import Any

from humanloop import Humanloop  # type: ignore[import-not-found]


def call(client: Any) -> None:
    """Make every session call and log datapoints, without asyncio."""
    created = client.sessions.create()
    assert created.status == 201
    session_id = created.body["id"]
    log = client.log(
        project="sdk",
        session_id=session_id,
        reference_id="sdk log",
        inputs={"question": "Why?"},
        messages=[{"role": "user", "content": "Why?"}],
        output="Because",
        source="test",
        metadata={"user": "7"},
        config={"type": "model", "model": "gpt-4", "prompt_template": "{{question}}"},
        feedback={"type": "rating", "value": "good"},
    ).body
    assert log["session_id"] == session_id
    referenced = client.log(
        project="sdk",
        session_reference_id="sdk conversation",
        inputs={},
        output="1",
        config={"type": "generic"},
    ).body
    assert referenced["session_id"] != session_id
    updated = client.logs.update(id=log["id"], output="It is so", duration=1.5).body
    assert updated["output"] == "It is so"
    assert updated["config"]["model"] == "gpt-4"
    assert updated["feedback"][0]["id"].startswith("ann_")
    assert client.logs.update_by_ref(reference_id="sdk log", error="late").body["error"] == "late"
    session = client.sessions.get(id=session_id).body
    assert session["first_inputs"] == {"question": "Why?"}
    assert session["last_output"] == "It is so"
    assert session["projects"][0]["name"] == "sdk"
    page = client.sessions.list(project_id=log["project_id"], page=1, size=10).body
    assert [record["id"] for record in page["records"]] == [referenced["session_id"], session_id]


async def acall(client: Any) -> None:
    """Do the like with asyncio."""
    session_id = (await client.sessions.acreate()).body["id"]
    log = (
        await client.alog(
            project="async sdk", session_id=session_id, inputs={}, output="1", config={"type": "generic"}
        )
    ).body
    assert log["session_id"] == session_id
    assert (await client.logs.aupdate(id=log["id"], output="2")).body["output"] == "2"
    assert (await client.sessions.aget(id=session_id)).body["last_output"] == "2"
    page = (await client.sessions.alist(project_id=log["project_id"])).body
    assert page["total"] == 1


if __name__ == "__main__":
    base_url, api_key = sys.argv[1:]
    humanloop = Humanloop(host=base_url, api_key=api_key, openai_api_key="sk-of-the-user")
    call(humanloop)
    asyncio.run(acall(humanloop))
