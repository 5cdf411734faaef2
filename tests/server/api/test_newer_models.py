"""Messages and configs of today's models, in a protocol that ended in 2025.

The client of these tests checks every answer against the published schema.
"""

from typing import Any

import pytest

MESSAGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "developer": (
        {"role": "developer", "content": "Be brief", "refusal": None},
        {"role": "system", "content": "Be brief", "original": {"role": "developer"}},
    ),
    "function": (
        {"role": "function", "name": "f", "content": "1"},
        {"role": "tool", "name": "f", "content": "1", "original": {"role": "function"}},
    ),
    "any role": (
        {"role": "king", "content": "Off", "original": 1},
        {"role": "user", "content": "Off", "original": {"role": "king", "original": 1}},
    ),
    "a role that is no text": ({"role": ["a"]}, {"role": "user", "original": {"role": ["a"]}}),
    "no role": (
        {"type": "reasoning", "summary": []},
        {"type": "reasoning", "summary": [], "role": "assistant"},
    ),
    "fields that are no texts": (
        {"role": "tool", "name": 5, "tool_call_id": {}},
        {"role": "tool", "original": {"name": 5, "tool_call_id": {}}},
    ),
    "new fields": (
        {"role": "assistant", "content": "4", "reasoning_content": "2 + 2", "annotations": []},
        {"role": "assistant", "content": "4", "reasoning_content": "2 + 2", "annotations": []},
    ),
    "new parts": (
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "u", "detail": None}},
                {"type": "image_url", "image_url": {"url": "u", "detail": "original"}},
                {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
                {"type": "input_text", "text": "b"},
                {"text": None},
                "c",
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "u"}},
                {
                    "type": "text",
                    "text": "[image_url]",
                    "original": {"type": "image_url", "image_url": {"url": "u", "detail": "original"}},
                },
                {
                    "type": "text",
                    "text": "[input_audio]",
                    "original": {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
                },
                {"type": "text", "text": "b", "original": {"type": "input_text", "text": "b"}},
                {"type": "text", "text": "", "original": {"text": None}},
                {"type": "text", "text": "c", "original": "c"},
            ],
        },
    ),
    "content of another kind": (
        {"role": "tool", "content": {"answer": 4}},
        {"role": "tool", "content": [{"type": "text", "text": "", "original": {"answer": 4}}]},
    ),
    "new tool calls": (
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": None}, "index": 0},
                {"id": "2", "type": "custom", "custom": {"name": "run", "input": "1 + 1"}},
                {"function": {"name": "f", "arguments": {"a": 1}}},
                {"type": "web_search", "query": "a"},
                None,
            ],
            "tool_call": {"name": "f", "arguments": {"a": 1}},
        },
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f"}, "index": 0},
                {
                    "id": "2",
                    "type": "function",
                    "function": {"name": "run", "arguments": "1 + 1"},
                    "original": {"id": "2", "type": "custom", "custom": {"name": "run", "input": "1 + 1"}},
                },
                {
                    "id": "",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"a":1}'},
                    "original": {"function": {"name": "f", "arguments": {"a": 1}}},
                },
                {
                    "id": "",
                    "type": "function",
                    "function": {"name": "web_search"},
                    "original": {"type": "web_search", "query": "a"},
                },
                {"id": "", "type": "function", "function": {"name": ""}, "original": None},
            ],
            "tool_call": {
                "name": "f",
                "arguments": '{"a":1}',
                "original": {"name": "f", "arguments": {"a": 1}},
            },
        },
    ),
    "calls that are no list": (
        {"role": "assistant", "tool_calls": "f", "tool_call": "f"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "", "type": "function", "function": {"name": ""}, "original": "f"}],
            "tool_call": {"name": "", "original": "f"},
        },
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_message_is_answered_as_the_nearest_thing_with_what_was_logged(
    client: Any, unique: str, case: str
) -> None:
    """The published schema allows the answer, and nothing of the message is lost."""
    given, answered = MESSAGES[case]
    config = {"model": "m", "chat_template": [given]}
    created = client.log(project=unique, messages=[given], output_message=given, config=config)
    log = client.ok("GET", f"/logs/{created['id']}")
    assert (log["messages"], log["output_message"]) == ([answered], answered)
    assert log["config"]["chat_template"] == [answered]
    page = client.ok("GET", "/logs", params={"project_id": created["project_id"]})
    assert page["records"][0]["messages"] == [answered]


@pytest.mark.parametrize(
    ("given", "answered"),
    [
        ({"model": "m"}, {"type": "model", "model": "m"}),
        ({"type": None, "model": "m", "id": "x"}, {"type": "model", "model": "m"}),
        (
            {"type": "model", "model": "m", "provider": "nobody", "endpoint": "responses", "other": {"a": 1}},
            {
                "type": "model",
                "model": "m",
                "other": {"provider": "nobody", "endpoint": "responses", "a": 1},
            },
        ),
        (
            {"model": "m", "provider": "google", "response_format": {"type": "grammar"}, "max_tokens": "5"},
            {
                "type": "model",
                "model": "m",
                "provider": "google",
                "other": {"response_format": {"type": "grammar"}, "max_tokens": "5"},
            },
        ),
        (
            {"model": "m", "temperature": 0, "top_p": 0.1 + 0.2, "seed": 2**64},
            {"type": "model", "model": "m", "temperature": 0, "top_p": 0.1 + 0.2, "seed": 2**64},
        ),
        (
            {
                "model": "m",
                "tools": [{"type": "web_search"}, {"type": "function", "function": {"name": "f"}}],
            },
            {
                "type": "model",
                "model": "m",
                "tools": [
                    {"id": "web_search", "name": "web_search", "type": "web_search"},
                    {"id": "f", "name": "f", "type": "function", "function": {"name": "f"}},
                ],
            },
        ),
        ({"model": "m", "tools": [{}]}, {"type": "model", "model": "m", "other": {"tools": [{}]}}),
        (
            {"type": "tool", "source": "mcp"},
            {"type": "tool", "name": "tool", "status": "uncommitted", "other": {"source": "mcp"}},
        ),
        (
            {"type": "agent", "agent_class": "A", "model_config": {"model": "m", "provider": "nobody"}},
            {
                "type": "agent",
                "name": "agent",
                "status": "uncommitted",
                "agent_class": "A",
                "model_config": {"type": "model", "model": "m", "other": {"provider": "nobody"}},
            },
        ),
    ],
    ids=str,
)
def test_what_has_no_place_in_a_config_is_kept_in_its_other(
    client: Any, unique: str, given: dict[str, Any], answered: dict[str, Any]
) -> None:
    """A config that names no type is one of a model."""
    log_id = client.log(project=unique, config=given, config_id="config_given")["id"]
    config = client.ok("GET", f"/logs/{log_id}")["config"]
    assert (config, repr(config.get("temperature"))) == (
        {**answered, "id": "config_given"},
        repr(given.get("temperature")),
    )


def test_what_is_new_does_not_refuse_a_list(client: Any, unique: str) -> None:
    """Ten thousand datapoints are stored, regardless of their roles."""
    logs = [
        {"project": unique, "messages": [{"role": f"role {n}", "content": [{"type": n}]}]}
        for n in range(10_000)
    ]
    assert len(client.ok("POST", "/logs", json=logs)) == 10_000
