"""Bedrock Converse, by the client of boto3."""

# /// script
# dependencies = ["boto3==1.44.8"]
# ///

import json
from typing import Any

import boto3

from hl_sessions import SessionManager
from tests.pages import run_block
from tests.sessions_api import Answer, SessionsAPI

ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "because"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
    "metrics": {"latencyMs": 1},
}


def test_the_session_is_in_the_metadata_of_the_request(manager: SessionManager) -> None:
    answer = run_block("logs-and-traces.md", "Bedrock")["answer"]
    bedrock = SessionsAPI()
    bedrock.answer = lambda _: Answer(body=ANSWER)
    client: Any = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=bedrock.base_url,
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    ids = []
    for _ in range(2):
        with manager.session() as session:
            assert answer(client, "Why?") == "because"
            ids.append(session.id)
    assert answer(client, "Why?") == "because"
    bodies = [json.loads(request.body) for request in bedrock.requests]
    bedrock.close()
    assert [body["requestMetadata"] for body in bodies[:2]] == [{"session_id": each} for each in ids]
    assert "requestMetadata" not in bodies[2]
