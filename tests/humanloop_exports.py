"""Makes folders as Humanloop's ``humanloop-export`` wrote them, of any size.

Run as a script where ``humanloop==0.8.38`` is installed, it holds all that it makes against the published
types of the API's answers: ``python tests/humanloop_exports.py``.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SECRET = "sk-never-to-be-seen"
BEGAN = "2025-06-05T12:00:00.250000Z"
USER = {"id": "usr_1", "email_address": "ada@example.org", "full_name": "Ada"}
PRODUCTION = {"id": "env_1", "created_at": BEGAN, "name": "production", "tag": "default"}
FILES = {
    "flow": "fl_support",
    "agent": "ag_triage",
    "prompt": "pr_answer",
    "tool": "tl_search",
    "evaluator": "ev_tone",
}


def version(kind: str) -> dict[str, Any]:
    """A version of a file, as each log holds it."""
    common = {
        "path": f"Support/{kind}",
        "id": FILES[kind],
        "name": kind,
        "type": kind,
        "version_id": f"{FILES[kind][:2]}v_1",
        "version_name": "second try",
        "created_at": BEGAN,
        "updated_at": BEGAN,
        "last_used_at": BEGAN,
        "created_by": USER,
        "environments": [PRODUCTION],
        "version_logs_count": 3,
        "total_logs_count": 3,
        "inputs": [{"name": "question"}],
    }
    model: dict[str, Any] = {
        "model": "gpt-4o",
        "provider": "openai",
        "endpoint": "chat",
        "template": [{"role": "system", "content": "Answer {{question}}."}],
        "temperature": 0.5,
        "max_tokens": 256,
        "reasoning_effort": "low",
        "attributes": {"team": "support"},
        "tools": [],
    }
    return (
        common
        | {
            "flow": {"attributes": {"commit": "abc"}},
            "agent": model | {"max_iterations": 4, "status": "committed"},
            "prompt": model
            | {"tools": [{"name": "search", "description": "Searches.", "strict": True, "parameters": {}}]},
            "tool": {
                "function": {"name": "search", "description": "Searches.", "parameters": {"type": "object"}},
                "setup_values": {"index_key": SECRET},
            },
            "evaluator": {
                "spec": {
                    "evaluator_type": "python",
                    "arguments_type": "target_free",
                    "return_type": "boolean",
                    "code": "def tone(log): return True",
                }
            },
        }[kind]
    )


def log(kind: str, id_: str, **fields: Any) -> dict[str, Any]:
    """A log of a file."""
    return {
        "id": id_,
        kind: version(kind),
        "created_at": "2025-06-05T12:00:09Z",
        "start_time": BEGAN,
        "end_time": "2025-06-05T12:00:01.750000Z",
        "inputs": {"question": "Why?"},
        "output": f"the output of {id_}",
        "source": "sdk",
        "environment": "production",
        "metadata": {"tenant": "acme"},
        "evaluator_logs": [],
        "trace_children": [],
    } | fields


def answer(id_: str, **fields: Any) -> dict[str, Any]:
    """A log of a prompt, with the fields that only prompts have."""
    return log(
        "prompt",
        id_,
        messages=[{"role": "user", "content": "Why?"}],
        output_message={"role": "assistant", "content": "Because."},
        prompt_tokens=12,
        output_tokens=3,
        reasoning_tokens=2,
        prompt_cost=0.25,
        output_cost=0.5,
        provider_latency=1.25,
        finish_reason="stop",
        tool_choice="auto",
        log_status="complete",
        batches=["batch_1"],
        user="user-7",
        provider_request={"model": "gpt-4o", "api_key": SECRET, "headers": {"Authorization": SECRET}},
        provider_response={"id": "chatcmpl-1"},
        **fields,
    )


def judgment(id_: str, judged: str, value: object, **fields: Any) -> dict[str, Any]:
    """A log of an evaluator."""
    return log("evaluator", id_, parent_id=judged, judgment=value, output=None, **fields)


def trace(number: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A trace as the log of its flow, and the same logs but the flow's as they stand in their own files."""
    root, called, searched = f"log_flow_{number}", f"log_answer_{number}", f"log_search_{number}"
    of_trace = {"trace_id": root, "trace_flow_id": FILES["flow"]}
    tool = log("tool", searched, trace_parent_id=called, **of_trace)
    judged = judgment(f"log_judgment_{number}", called, value=True)
    prompt = answer(called, trace_parent_id=root, log_id=f"own-{number}", evaluator_logs=[judged], **of_trace)
    flow = log("flow", root, user="user-7", trace_children=[{**prompt, "trace_children": [tool]}], **of_trace)
    return flow, [prompt, tool, judged]


def kind_of(one: dict[str, Any]) -> str:
    """The kind of the file that a log is of."""
    return next(kind for kind in FILES if kind in one)


def write_lines(folder: Path, records: Iterable[Any]) -> None:
    """Write logs as the tool did: the first file has 1,001 lines if there are as many."""
    folder.mkdir(parents=True, exist_ok=True)
    of_file: dict[int, list[str]] = {}
    for number, record in enumerate(records):
        of_file.setdefault(max(number - 1, 0) // 1000 + 1, []).append(json.dumps(record) + "\n")
        if len(of_file) > 1:
            _write(folder, of_file)
    _write(folder, of_file)


def _write(folder: Path, of_file: dict[int, list[str]]) -> None:
    number = min(of_file, default=0)
    if number:
        (folder / f"{number}.jsonl").write_text("".join(of_file.pop(number)))


def write_file(folder: Path, kind: str) -> Path:
    """Write all of a file but its logs, and return its folder."""
    of_file = folder / "files" / FILES[kind]
    (of_file / "versions").mkdir(parents=True)
    (of_file / "file.json").write_text(json.dumps(version(kind)))
    (of_file / "versions" / version(kind)["version_id"]).write_text(json.dumps(version(kind)))
    deployed = {"version_id": version(kind)["version_id"], "environment_id": "env_1"}
    (of_file / "deployments.json").write_text(json.dumps([deployed | {"environment_name": "production"}]))
    (of_file / ".done").write_text("Export completed successfully.\n")
    return of_file


def write_export(folder: Path, traces: int) -> None:
    """Write an export with as many traces, of four logs each, the newest first."""
    for kind in FILES:
        of_file = write_file(folder, kind)
        write_lines(of_file / "logs", _logs(kind, traces))


def _logs(kind: str, traces: int) -> Iterator[dict[str, Any]]:
    for number in reversed(range(traces)):
        flow, others = trace(number)
        if kind == "flow":
            yield flow
        yield from (one for one in others if kind_of(one) == kind)


def _check() -> None:
    from humanloop import types  # type: ignore[import-not-found, unused-ignore]
    from pydantic import TypeAdapter

    flow, others = trace(1)
    agent = log("agent", "log_agent", prompt_tokens=1, messages=[{"role": "user", "content": "Why?"}])
    for one in (flow, *others, agent):
        TypeAdapter(getattr(types, f"{kind_of(one).title()}LogResponse")).validate_python(one, strict=False)
    for kind in FILES:
        TypeAdapter(getattr(types, f"{kind.title()}Response")).validate_python(version(kind))
    evaluated = {"run_id": "run_1", "log": others[0], "evaluator_logs": [others[2]]}
    TypeAdapter(types.EvaluationLogResponse).validate_python(evaluated)


if __name__ == "__main__":
    _check()
