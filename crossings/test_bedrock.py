"""Bedrock Converse, by the client of boto3."""

# /// script
# dependencies = ["boto3==1.44.8"]
# ///

import json
from typing import Any

import boto3

from crossings.at_once import answered_at_once
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
    ids = answered_at_once(manager, lambda question: answer(client, question))
    assert answer(client, "c") == "because"
    bodies = [json.loads(request.body) for request in bedrock.requests]
    bedrock.close()
    metadata = {body["messages"][0]["content"][0]["text"]: body.get("requestMetadata") for body in bodies}
    assert metadata == {"a": {"session_id": ids["a"]}, "b": {"session_id": ids["b"]}, "c": None}
