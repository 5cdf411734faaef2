"""The terms of a filter as conditions of the database."""

from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt
from typing import Any, Final, cast

from pydantic_core import to_json
from sqlalchemy import (
    ColumnElement,
    Float,
    ScalarSelect,
    and_,
    exists,
    func,
    or_,
    select,
    true,
)
from sqlalchemy import (
    Text as TextType,
)
from sqlalchemy import (
    cast as sql_cast,
)

from hl_sessions.server.database.epoch import EpochSeconds
from hl_sessions.server.database.tables import feedback, logs, project_sessions, projects, sessions
from hl_sessions.server.database.text_search import json_contains, text_contains
from hl_sessions.server.page.queries.filter_language import METADATA, Condition, Moment, Term, Text
from hl_sessions.server.page.queries.json_members import NumberMember, TextMember

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    ":": eq,
    "=": eq,
    ">": gt,
    ">=": ge,
    "<": lt,
    "<=": le,
}

_OF_SESSION: Final = logs.c.session_id == sessions.c.id


def _total(total: ColumnElement[Any]) -> ScalarSelect[Any]:
    return select(total).where(_OF_SESSION).correlate(sessions).scalar_subquery()


def _sum(*columns: ColumnElement[Any]) -> ColumnElement[Any]:
    # As floats, since a sum of integers may be larger than an integer of the database.
    parts = [func.coalesce(func.sum(sql_cast(column, Float)), 0.0) for column in columns]
    return _total(parts[0] + parts[1])


_END: Final = EpochSeconds(logs.c.created_at) + func.coalesce(logs.c.duration, 0)

TOTALS: Final[Mapping[str, ColumnElement[Any]]] = {
    "began": sessions.c.created_at,
    "active": func.coalesce(_total(func.max(logs.c.created_at)), sessions.c.created_at),
    "datapoints": _total(func.count()),
    "duration": _total(func.max(_END) - func.min(EpochSeconds(logs.c.created_at))),
    "errors": _total(func.count(logs.c.error)),
    "tokens": _sum(logs.c.prompt_tokens, logs.c.output_tokens),
    "cost": _sum(logs.c.prompt_cost, logs.c.output_cost),
    "user": sessions.c.user,
    "name": sessions.c.name,
}
"""What a session has one of, by the names of filters and sorts."""


def holds(term: Term) -> ColumnElement[bool]:
    """Return the condition that a term holds of a row of the table of sessions."""
    inside = holds_inside(term)
    condition = _holds(cast("Condition", term)) if inside is None else has_datapoint(inside)
    return condition.is_not(true()) if term.negated else condition


def has_datapoint(inside: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a session has a datapoint of which another condition is true."""
    return exists().where(_OF_SESSION, inside).correlate(sessions)


def holds_inside(term: Term) -> ColumnElement[bool] | None:
    """Return what has to be true of one of the datapoints, whether negated or not.

    Returns:
        A condition of the table of logs; ``None`` when the term is not about single datapoints.
    """
    if isinstance(term, Text):
        texts = [text_contains(column, term.text) for column in (logs.c.output, logs.c.error)]
        payloads = (logs.c.inputs, logs.c.messages, logs.c.metadata)
        return or_(*texts, *(json_contains(column, term.text) for column in payloads))
    if term.name in {"source", "environment"}:
        return logs.c[term.name] == term.value
    if term.name == "model":
        return TextMember(logs.c.config, "model") == term.value
    if term.name == "feedback":
        of_datapoint = feedback.c.log_id == logs.c.id
        return exists().where(of_datapoint, _is_feedback(str(term.value))).correlate(logs)
    if term.name.startswith(METADATA):
        return _has_metadata(term)
    return None


def texts_of(term: Term) -> list[str]:
    """Return the texts that a datapoint has to hold for the term, which the text index knows of."""
    if isinstance(term, Text):
        return [term.text]
    if not term.name.startswith(METADATA):
        return []
    key = term.name.removeprefix(METADATA)
    return [key, term.value] if isinstance(term.value, str) else [key]


def _holds(term: Condition) -> ColumnElement[bool]:
    if term.name == "project":
        of_project = project_sessions.c.project_id == projects.c.id
        in_session = project_sessions.c.session_sequence == sessions.c.sequence
        is_named = or_(projects.c.id == term.value, projects.c.name == term.value)
        of_organisation = projects.c.organisation_id == sessions.c.organisation_id
        return exists().where(in_session, of_project, of_organisation, is_named).correlate(sessions)
    if term.name == "reference":
        return sessions.c.reference_id == term.value
    column = TOTALS[term.name]
    if term.name == "name" and term.operator == ":":
        return text_contains(column, str(term.value))
    if isinstance(term.value, Moment):
        return _is_at(column, term.operator, term.value)
    return cast("ColumnElement[bool]", _COMPARISONS[term.operator](column, term.value))


def _is_at(column: ColumnElement[Any], operator: str, moment: Moment) -> ColumnElement[bool]:
    """Compare with a day or a minute: what is later comes after its end."""
    conditions = {
        ">": column >= moment.end,
        ">=": column >= moment.begin,
        "<": column < moment.begin,
        "<=": column < moment.end,
    }
    return conditions.get(operator, and_(conditions[">="], conditions["<="]))


def _has_metadata(term: Condition) -> ColumnElement[bool]:
    key = term.name.removeprefix(METADATA)
    member = (TextMember if isinstance(term.value, str) else NumberMember)(logs.c.metadata, key)
    return cast("ColumnElement[bool]", _COMPARISONS[term.operator](member, term.value))


def _is_feedback(given: str) -> ColumnElement[bool]:
    kind, separator, value = given.partition("=")
    is_kind = feedback.c.type == kind
    if not separator:
        return is_kind
    # A text, or what is written in the same way, such as a number.
    return and_(is_kind, sql_cast(feedback.c.value, TextType).in_([to_json(value).decode(), value]))
