"""Reads logs of Humanloop's last API, v5, as datapoints: a trace becomes a session, and a file a project.

A log is in the export of its file. As a part of a trace it is also in the log of the flow, nested in its
caller.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from hl_sessions.server.humanloop.fields import (
    add_to_metadata,
    columns_and_rest,
    described,
    moment,
    name_of,
    reference,
    without_secrets,
)
from hl_sessions.server.humanloop.found import Datapoint, Judgment, Project, Session, UnreadableError
from hl_sessions.server.humanloop.identity import Identities
from hl_sessions.server.protocol.identifiers import FEEDBACK, LOG, SESSION

_EVALUATOR: Final = "evaluator"
_FILES: Final = ("prompt", "tool", "flow", "agent", _EVALUATOR)
"""The kinds of files; a log has its version of the file in the field of this name."""

_PLACED: Final = (
    *("id", "log_id", "trace_id", "trace_children", "evaluator_logs", "parent"),
    *_FILES,
)
_OF_THE_FILE: Final = frozenset(
    {
        *("id", "path", "name", "type", "directory_id", "version_id", "environments", "inputs", "schema"),
        *("created_at", "updated_at", "created_by", "committed_at", "committed_by", "status", "last_used_at"),
        *("version_logs_count", "total_logs_count", "evaluators", "evaluator_aggregates"),
        *("raw_file_content", "readme", "tags", "description", "version_name", "version_description"),
        *("setup_values",),
    }
)
"""The fields of a version that describe its file or the whole account, not the called code."""


@dataclass(frozen=True)
class _Nested:
    """A log, and the values that it takes from the log that it is nested in."""

    log: Any
    parent: str | None = None
    trace: str | None = None
    judged: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True)
class _Log:
    """A log with the IDs of its file, trace and parent at Humanloop."""

    fields: dict[str, Any]
    kind: str
    trace: str | None
    parent: str | None
    judged: str | None
    created_at: datetime

    @classmethod
    def of(cls, nested: _Nested) -> "_Log":
        fields = nested.log
        kind = next((kind for kind in _FILES if isinstance(fields.get(kind), dict)), None)
        if kind is None or not isinstance(fields.get("id"), str):
            raise UnreadableError("this is no log")
        is_evaluator = kind == _EVALUATOR
        began = moment(fields.get("start_time")) or moment(fields.get("created_at")) or nested.created_at
        return cls(
            fields=fields,
            kind=kind,
            trace=_text(fields.get("trace_id")) or nested.trace or (None if is_evaluator else fields["id"]),
            parent=_text(fields.get("trace_parent_id")) or nested.parent,
            judged=nested.judged or (_text(fields.get("parent_id")) if is_evaluator else None),
            created_at=began or datetime.now(timezone.utc),
        )

    @property
    def file(self) -> dict[str, Any]:
        """The version of the file of the log."""
        version: dict[str, Any] = self.fields[self.kind]
        return version


def read_evaluation_log(record: Mapping[str, Any], identities: Identities) -> Iterator[Datapoint | Judgment]:
    """Yield the log in a line of the logs of an evaluation, and its judgments.

    Raises:
        UnreadableError: When the line is no such log.
    """
    log, judging = record.get("log"), record.get("evaluator_logs")
    if not isinstance(log, dict):
        raise UnreadableError("this is no log of an evaluation")
    judging = [*_list(log.get("evaluator_logs")), *_list(judging)]
    yield from read_log({**log, "evaluator_logs": judging}, identities)


def read_log(record: Mapping[str, Any], identities: Identities) -> Iterator[Datapoint | Judgment]:
    """Yield a log and all logs nested in it; for logs of evaluators, also their judgments.

    Raises:
        UnreadableError: When the value, or a part nested in it, is no log.
    """
    pending = [_Nested(record)]
    while pending:
        nested = pending.pop()
        if not isinstance(nested.log, dict):
            raise UnreadableError("this is no log")
        log = _Log.of(nested)
        datapoint = _datapoint(log, identities)
        yield datapoint
        if log.judged is not None and "judgment" in datapoint.columns:
            yield _judgment(log, log.judged, identities)
        id_, began = log.fields["id"], log.created_at
        pending += [
            _Nested(one, judged=id_, created_at=began)
            for one in reversed(_list(log.fields.get("evaluator_logs")))
        ]
        pending += [
            _Nested(one, parent=id_, trace=log.trace, created_at=began)
            for one in reversed(_list(log.fields.get("trace_children")))
        ]


def project_of(file: Mapping[str, Any]) -> Project:
    """Return the project that a file becomes.

    Raises:
        UnreadableError: When the file has no name.
    """
    return Project(
        None, name_of(file.get("path"), file.get("name"), file.get("id")), moment(file.get("created_at"))
    )


def _datapoint(log: _Log, identities: Identities) -> Datapoint:
    fields, file, began = log.fields, log.file, log.created_at
    columns, rest = columns_and_rest(fields, _PLACED)
    ended_at = moment(fields.get("end_time"))
    if ended_at is not None and ended_at >= began:
        columns["duration"] = (ended_at - began).total_seconds()
        del rest["end_time"]
    rest.pop("created_at" if moment(fields.get("start_time")) is None else "start_time", None)
    columns["reference_id"] = fields["id"]
    own_id = reference(fields.get("log_id"))
    if own_id not in {None, fields["id"]}:
        columns["reference_id"] = own_id
        rest["id"] = fields["id"]
    version_id = _text(file.get("version_id"))
    columns["config_id"] = version_id
    columns["config"] = described(_config_of(log.kind, file), version_id or log.kind)
    if columns["config"] is None:
        rest[log.kind] = without_secrets(_of_the_version(file))
        columns["config"] = described(None, version_id or log.kind)
    add_to_metadata(columns, rest)
    session = None
    if log.trace is not None:
        session = Session(
            id=identities.derive(SESSION, log.trace),
            created_at=began,
            told={"reference_id": reference(log.trace), "user": _text(fields.get("user"))},
            begins_with_datapoints=True,
        )
    return Datapoint(
        id=identities.derive(LOG, fields["id"]),
        project=project_of(file),
        session=session,
        parent_id=None if log.parent is None else identities.derive(LOG, log.parent),
        created_at=began,
        columns=columns,
    )


def _judgment(log: _Log, judged: str, identities: Identities) -> Judgment:
    return Judgment(
        id=identities.derive(FEEDBACK, log.fields["id"]),
        log_id=identities.derive(LOG, judged),
        columns={
            "type": project_of(log.file).name,
            "value": log.fields["judgment"],
            "user": _text(log.fields.get("user")),
            "created_at": log.created_at,
        },
    )


def _of_the_version(file: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in file.items() if name not in _OF_THE_FILE}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _config_of(kind: str, file: Mapping[str, Any]) -> dict[str, Any]:
    """Return the version of a file as the config of a datapoint of v4."""
    config = _of_the_version(file)
    description = file.get("version_description") or file.get("description")
    if kind in {"prompt", "agent"}:
        template = config.pop("template", None)
        config["prompt_template" if isinstance(template, str) else "chat_template"] = template
        return {**config, "type": "model", "name": file.get("version_name"), "description": description}
    config["name"] = file.get("name") or kind
    if kind == "tool":
        function = config.pop("function", None)
        return {**config, **(function if isinstance(function, dict) else {}), "type": "tool"}
    return {**config, "type": "generic", "description": description}
