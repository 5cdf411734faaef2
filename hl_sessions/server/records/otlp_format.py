"""Datapoints as spans in the JSON of OTLP, which other platforms read: a session is a trace.

A line is the body of a request to a collector. Attributes have the names of OpenTelemetry's semantic
conventions for generative AI. Inputs and output have those of OpenInference, because the conventions only
cover messages.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from hashlib import blake2b
from sys import float_info
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import Connection, select

from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.tables import projects, sessions
from hl_sessions.server.records.feedback import feedback_on

_INTERNAL: Final = 1
_CLIENT: Final = 3
_ERROR: Final = 2
_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LATEST: Final = 2**63 - 1  # nanoseconds; some readers have no more bits
_LONGEST: Final = 1e9  # seconds

_PROVIDERS: Final = {
    "openai_azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "google": "gcp.gen_ai",
}
_PARAMETERS: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_tokens",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
}
_OWN: Final = (
    *("id", "reference_id", "source", "environment", "config_id", "source_datapoint_id", "metadata"),
    *("judgment", "stdout", "prompt_cost", "output_cost"),
)


def otlp_line(connection: Connection, logs: Sequence[Mapping[Any, Any]]) -> bytes:
    """Return the line of some datapoints.

    Args:
        connection: The connection of the transaction.
        logs: The rows of the datapoints.
    """
    names = _find(connection, projects.c.id, projects.c.name, {log["project_id"] for log in logs})
    users = _find(connection, sessions.c.id, sessions.c.user, {log["session_id"] for log in logs} - {None})
    judgments: dict[str, list[dict[str, Any]]] = {}
    for some in in_parts([log["id"] for log in logs]):
        judgments |= feedback_on(connection, "log_id", some)
    of_projects: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for log in logs:
        user, project = users.get(log["session_id"]), names[log["project_id"]]
        of_projects[project].append(_span(log, project, user, judgments.get(log["id"], ())))
    return to_json({"resourceSpans": [_of_project(*item) for item in of_projects.items()]}) + b"\n"


def _find(connection: Connection, key: Any, value: Any, wanted: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for some in in_parts(sorted(wanted)):
        query = select(key.label("key"), value.label("value")).where(key.in_(some))
        found |= {row.key: row.value for row in connection.execute(query)}
    return found


def _of_project(name: str, spans: list[dict[str, Any]]) -> dict[str, Any]:
    scope = {"scope": {"name": "hl_sessions"}, "spans": spans}
    return {"resource": {"attributes": _attributes({"service.name": name})}, "scopeSpans": [scope]}


def _span(
    log: Mapping[Any, Any], project: str, user: str | None, judgments: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    config = log["config"] or {}
    model = config.get("model") if config.get("type") == "model" else None
    operation = _operation(config) if model else "execute_tool" if config.get("type") == "tool" else None
    start = _nanoseconds(log["created_at"])
    end = min(start + round(min(max(log["duration"] or 0, 0), _LONGEST) * 1e9), _LATEST)
    attributes: dict[str, Any] = {"session.id": log["session_id"], "user.id": user}
    if log["session_id"] is not None and model:
        attributes["gen_ai.conversation.id"] = log["session_id"]
    attributes["gen_ai.operation.name"] = operation
    if model:
        attributes |= _of_model(log, config)
    elif operation:
        attributes["gen_ai.tool.name"] = config.get("name")
    attributes |= {
        "openinference.span.kind": "LLM" if model else "TOOL" if operation else "CHAIN",
        "input.value": log["inputs"],
        "input.mime_type": None if log["inputs"] is None else "application/json",
        "output.value": log["output"],
        "output.mime_type": None if log["output"] is None else "text/plain",
        "error.type": None if log["error"] is None else "_OTHER",
    }
    attributes |= {f"hl_sessions.{name}": log[name] for name in _OWN}
    named = [operation, model or config.get("name")] if operation else [project, log["source"]]
    span = {
        "traceId": _hex(log["session_id"] or log["id"], _TRACE_BYTES),
        "spanId": _hex(log["id"], _SPAN_BYTES),
        "name": " ".join(filter(None, named)),
        "kind": _CLIENT if model else _INTERNAL,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(end),
        "attributes": _attributes(attributes),
        "events": [_event(judgment) for judgment in judgments],
        "status": {} if log["error"] is None else {"code": _ERROR, "message": log["error"]},
    }
    if log["parent_id"] is not None:
        span["parentSpanId"] = _hex(log["parent_id"], _SPAN_BYTES)
    return span


def _operation(config: Mapping[str, Any]) -> str:
    return "text_completion" if config.get("endpoint") == "complete" else "chat"


def _of_model(log: Mapping[Any, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    provider, stop = config.get("provider"), config.get("stop")
    messages, output = log["messages"], log["output_message"]
    if output is None and log["output"] is not None:
        output = {"role": "assistant", "content": log["output"]}
    return {
        "gen_ai.provider.name": _PROVIDERS.get(provider, provider) if provider else None,
        "gen_ai.request.model": config["model"],
        **{f"gen_ai.request.{name}": config.get(field) for field, name in _PARAMETERS.items()},
        "gen_ai.request.stop_sequences": [stop] if isinstance(stop, str) else stop,
        "gen_ai.usage.input_tokens": log["prompt_tokens"],
        "gen_ai.usage.output_tokens": log["output_tokens"],
        "gen_ai.input.messages": None if messages is None else [_message(one) for one in messages],
        "gen_ai.output.messages": None if output is None else [_message(output)],
    }


def _message(message: Any) -> Any:
    """Return a message of a chat in the form of the conventions."""
    if not isinstance(message, dict):
        return message
    content, parts = message.get("content"), []
    if message.get("role") == "tool":
        parts.append({"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content})
    elif isinstance(content, str):
        parts.append({"type": "text", "content": content})
    elif isinstance(content, list):
        parts += [_part(part) for part in content]
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            arguments = function.get("arguments")
            parts.append(
                {
                    "type": "tool_call",
                    "id": call.get("id"),
                    "name": function.get("name"),
                    "arguments": arguments,
                }
            )
    return {"role": message.get("role"), "parts": parts}


def _part(part: Any) -> Any:
    if isinstance(part, dict) and part.get("type") == "text":
        return {"type": "text", "content": part.get("text")}
    return part


def _event(judgment: Mapping[str, Any]) -> dict[str, Any]:
    value = judgment["value"]
    is_number = (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= float_info.max
    )
    return {
        "timeUnixNano": str(_nanoseconds(judgment["created_at"])),
        "name": "gen_ai.evaluation.result",
        "attributes": _attributes(
            {
                "gen_ai.evaluation.name": judgment["type"],
                "gen_ai.evaluation.score.value": float(value) if is_number else None,
                "gen_ai.evaluation.score.label": None if is_number else _text(value),
                "user.id": judgment.get("user"),
            }
        ),
    }


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in values.items() if value is not None]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": _text(value)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value).decode()


def _hex(name: str, size: int) -> str:
    return blake2b(name.encode(), digest_size=size).hexdigest()


def _nanoseconds(moment: datetime) -> int:
    return min(max((moment - _EPOCH) // timedelta(microseconds=1), 0) * 1000, _LATEST)
