"""The server accepts all checked and frozen fields."""

import sys
import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from hl_sessions.datapoints.fields import check
from hl_sessions.datapoints.values import freeze, snapshot
from tests.datapoints.test_responses import CALL, CHAT, MESSAGE, RESPONSE, changed, choice
from tests.datapoints.test_values import cyclic, nested
from tests.servers import served
from tests.waiting import PATIENCE

DATAPOINTS: dict[str, dict[str, Any]] = {
    "values": {
        "inputs": {
            "when": datetime(2026, 1, 2, tzinfo=timezone.utc),
            "half": "\ud800",
            "tags": {"a"},
            1: b"\xff",
        },
        "metadata": {"deep": nested(97), "cycle": cyclic(), "score": float("nan"), "many": 2**80},
    },
    "deepest": {"inputs": nested(1000), "metadata": {"deep": nested(1000)}},
    "chat": {"output": CHAT},
    "response": {"output": RESPONSE},
    "message": {"output": MESSAGE},
    "calls": {"output": changed(CHAT, choices=choice(content=None, tool_calls=[CALL]))},
    "fields": {
        "reference_id": uuid.uuid4(),
        "error": ValueError("wrong"),
        "created_at": datetime.now(timezone.utc),
        "duration": timedelta(seconds=1.5),
        "prompt_cost": Decimal("0.01"),
        "feedback": {"type": "rating", "value": "good"},
        "messages": ({"role": "user", "content": "why?"},),
        "judgment": True,
        "save": True,
    },
    "wrong": {"inputs": "text", "prompt_tokens": "5", "duration": True, "config": 5, "messages": "why?"},
}


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="the server runs on CPython")
def test_the_server_takes_what_is_left_of_any_fields(tmp_path: Path) -> None:
    """Nothing that was let through is refused, or refuses what is sent with it."""
    kept = [
        snapshot(check({"project": "support", "source": source, **fields}).fields).fields
        for source, fields in DATAPOINTS.items()
    ]
    body = b"[" + b",".join(freeze(fields).body for fields in kept) + b"]"
    with served(tmp_path / "sessions.db") as base_url:
        made = requests.post(
            f"{base_url}/logs", data=body, headers={"Content-Type": "application/json"}, timeout=PATIENCE
        )
        assert made.status_code == 200, made.text
        stored = [
            requests.get(f"{base_url}/logs/{datapoint['id']}", timeout=PATIENCE).json()
            for datapoint in made.json()
        ]
    for name in ("source", "output", "error", "duration", "prompt_tokens", "prompt_cost", "judgment"):
        assert [datapoint.get(name) for datapoint in stored] == [fields.get(name) for fields in kept]
