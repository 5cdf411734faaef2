"""The terms of a filter as conditions of the database."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import eq, ge, gt, le, lt
from typing import Any, Final, TypeGuard, cast

from pydantic_core import to_json
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    not_,
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

from hl_sessions.server.database.search_index import Numbers
from hl_sessions.server.database.tables import (
    feedback,
    logs,
    projects,
    session_metadata,
    session_totals,
    sessions,
)
from hl_sessions.server.database.text_search import json_contains, text_contains
from hl_sessions.server.finding.filter_language import METADATA, Condition, GivenFeedback, Moment, Term, Text
from hl_sessions.server.finding.json_members import NumberMember, TextMember
from hl_sessions.server.records.feedback import feedback_bit
from hl_sessions.server.records.frequent_members import find_bit
from hl_sessions.server.records.labels import BITS_OF, COUNTED_KINDS, has_label
from hl_sessions.server.records.session_metadata import may_have_members
from hl_sessions.server.records.session_totals import NANODOLLARS

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    ":": eq,
    "=": eq,
    ">": gt,
    ">=": ge,
    "<": lt,
    "<=": le,
}

_OF_SESSION: Final = logs.c.session_id == sessions.c.id
_OF_TOTALS: Final = sessions.c.sequence == session_totals.c.session_sequence

TOTALS: Final[Mapping[str, ColumnElement[Any]]] = {
    "began": session_totals.c.began_at,
    "active": func.coalesce(session_totals.c.last_at, session_totals.c.began_at),
    "datapoints": session_totals.c.datapoints,
    "duration": session_totals.c.last_at - session_totals.c.first_at,
    "errors": session_totals.c.errors,
    "tokens": session_totals.c.tokens,
    "cost": session_totals.c.nanodollars / float(NANODOLLARS),
}
"""What the totals of a session have, by the names of filters and sorts; times are in seconds since 1970."""


def is_of_totals(term: Term) -> bool:
    """Tell whether a term is about columns of the table of totals only."""
    of_totals = (*TOTALS, *BITS_OF, "feedback")
    return is_member(term) or (isinstance(term, Condition) and term.name in of_totals)


def is_member(term: Term) -> TypeGuard[Condition]:
    """Tell whether a term is about one member of metadata, with its value."""
    return isinstance(term, Condition) and term.name.startswith(METADATA) and isinstance(term.value, str)


def holds(connection: Connection, organisation_id: int, term: Term) -> ColumnElement[bool]:
    """Return the condition that a term holds of a session of an organisation.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        term: The term.

    Returns:
        A condition on the table of totals if that suffices, else on the table of sessions or on both.
    """
    inside = holds_inside(term)
    if is_member(term):
        condition = has_member(connection, organisation_id, term)
    elif inside is not None:
        condition = has_datapoint(inside)
        told = sessions_with_metadata(organisation_id, term)
        if told is not None:
            condition |= sessions.c.sequence.in_(told)
    elif isinstance(term, Condition) and term.name == "feedback":
        condition = _has_feedback(term)
    elif isinstance(term, Condition) and term.name in COUNTED_KINDS:
        condition = has_label(connection, organisation_id, term.name, str(term.value))
    elif isinstance(term, Condition) and term.name == "project":
        condition = _has_project(connection, organisation_id, term)
    else:
        condition = _holds(cast("Condition", term))
    # SQLite would compute all parts of a condition that it compares with true.
    return case((condition, false()), else_=true()) if term.negated else condition


def began(term: Condition) -> ColumnElement[bool]:
    """Return the condition on the table of sessions, which has an index, that a session began then."""
    moment = cast("Moment", term.value)
    condition = _is_at(sessions.c.created_at, term.operator, moment.begin, moment.end)
    return not_(condition) if term.negated else condition


def is_told(term: Condition, *, by_index: bool = True) -> ColumnElement[bool]:
    """Return the condition of the table of sessions that one has this user, name or reference ID.

    Args:
        term: The term that names it.
        by_index: Whether an index may find the sessions: it takes longer than to look through many of them.
    """
    if term.name == "name" and term.operator == ":":
        return text_contains(sessions.c.name, str(term.value))
    column = sessions.c.reference_id if term.name == "reference" else sessions.c[term.name]
    return (column if by_index else column.concat("")) == term.value


def is_project(organisation_id: int, term: Condition) -> list[ColumnElement[bool]]:
    """Return the conditions that a project has the name or the ID of a term."""
    is_named = or_(projects.c.id == term.value, projects.c.name == term.value)
    return [projects.c.organisation_id == organisation_id, is_named]


def is_given(term: Condition, type_: ColumnElement[str] = feedback.c.type) -> list[ColumnElement[bool]]:
    """Return the conditions that feedback is of a type, and has a value if one is named.

    Args:
        term: The term that names them.
        type_: The type of the feedback.
    """
    kind, values = _feedback_of(term)
    conditions: list[ColumnElement[bool]] = [type_ == kind]
    if values:
        conditions.append(sql_cast(feedback.c.value, TextType).in_(values))
    return conditions


def has_member(
    connection: Connection,
    organisation_id: int,
    term: Condition,
    is_in_datapoint: ColumnElement[bool] | None = None,
) -> ColumnElement[bool]:
    """Return the condition that a session has a member of metadata, without regard to a minus.

    It is on the table of totals, whose bits decide for most sessions.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        term: The term of the member.
        is_in_datapoint: Whether a datapoint of the session has it, if that is known.
    """
    if is_in_datapoint is None:
        logged = (
            select(literal(1)).join_from(sessions, logs, _OF_SESSION).where(_OF_TOTALS, _has_metadata(term))
        )
        is_in_datapoint = _is_there(logged, session_totals)
    has_it = [is_in_datapoint]
    told = sessions_with_metadata(organisation_id, term)
    # Most often none is told, which takes less time to find out than to look for it in each session.
    if told is not None and connection.scalar(told.limit(1)) is not None:
        of_session = session_metadata.c.session_sequence == session_totals.c.session_sequence
        has_it.append(_is_there(told.where(of_session), session_totals))
    bit = find_bit(connection, organisation_id, *_member_of(term))
    certainly = [session_totals.c.members.bitwise_and(bit) != 0] if bit else []
    return or_(*certainly, and_(*may_have_members([_member_of(term)]), or_(*has_it)))


def may_hold(
    connection: Connection, organisation_id: int, terms: Iterable[Term]
) -> list[ColumnElement[bool]]:
    """Return conditions on the table of totals that rule out most sessions of which terms do not hold.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        terms: The terms, of which those about members of metadata count.
    """
    members = list(filter(is_member, terms))
    conditions = may_have_members(_member_of(term) for term in members if not term.negated)
    excluded = 0
    for term in members:
        if term.negated:
            excluded |= find_bit(connection, organisation_id, *_member_of(term))
    if excluded:
        conditions.append(session_totals.c.members.bitwise_and(excluded) == 0)
    return conditions


def has_datapoint(inside: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a session has a datapoint that meets another condition."""
    return exists().where(_OF_SESSION, inside).correlate(sessions)


def holds_inside(term: Term) -> ColumnElement[bool] | None:
    """Return the condition on one of the datapoints, without regard to a minus.

    Returns:
        A condition on the table of logs; ``None`` when the term is not about single datapoints.
    """
    if isinstance(term, Text):
        texts = [text_contains(column, term.text) for column in (logs.c.output, logs.c.error)]
        payloads = (logs.c.inputs, logs.c.messages, logs.c.metadata)
        return or_(*texts, *(json_contains(column, term.text) for column in payloads))
    if term.name.startswith(METADATA):
        return _has_metadata(term)
    return None


def sessions_with_metadata(organisation_id: int, term: Term) -> Select[tuple[int]] | None:
    """Return the query of the sequences of sessions whose own metadata match a term.

    Args:
        organisation_id: The organisation of the reader.
        term: The term.

    Returns:
        The query, without regard to a minus; ``None`` when the term is not about metadata.
    """
    if not isinstance(term, Condition) or not term.name.startswith(METADATA):
        return None
    member = session_metadata.c.text if isinstance(term.value, str) else session_metadata.c.number
    return select(session_metadata.c.session_sequence).where(
        session_metadata.c.organisation_id == organisation_id,
        session_metadata.c.key == term.name.removeprefix(METADATA),
        _COMPARISONS[term.operator](member, term.value),
    )


def texts_of(term: Term) -> list[str]:
    """Return the texts that a datapoint has to hold for the term, which the text index knows of."""
    if isinstance(term, Text):
        return [term.text]
    if not term.name.startswith(METADATA):
        return []
    key = term.name.removeprefix(METADATA)
    # The index looks at the first text first, and keys are frequent.
    return [term.value, key] if isinstance(term.value, str) else [key]


def numbers_of(term: Term) -> Numbers | None:
    """Return the numbers of which a datapoint has to hold one for the term, which the text index knows of."""
    if not isinstance(term, Condition) or not term.name.startswith(METADATA) or is_member(term):
        return None
    key, value = term.name.removeprefix(METADATA), cast("float", term.value)
    return Numbers(key, least=value) if term.operator.startswith(">") else Numbers(key, greatest=value)


def _member_of(term: Condition) -> tuple[str, str]:
    return term.name.removeprefix(METADATA), str(term.value)


def _holds(term: Condition) -> ColumnElement[bool]:
    if term.name not in TOTALS:
        return is_told(term, by_index=False)
    column = TOTALS[term.name]
    if isinstance(term.value, Moment):
        return _is_at(column, term.operator, term.value.begin.timestamp(), term.value.end.timestamp())
    return cast("ColumnElement[bool]", _COMPARISONS[term.operator](column, term.value))


def _is_at(column: ColumnElement[Any], operator: str, begin: Any, end: Any) -> ColumnElement[bool]:
    """Compare with a day or a minute: what is later comes after its end."""
    conditions: dict[str, ColumnElement[bool]] = {
        ">": column >= end,
        ">=": column >= begin,
        "<": column < begin,
        "<=": column < end,
    }
    return conditions.get(operator, and_(conditions[">="], conditions["<="]))


def _has_metadata(term: Condition) -> ColumnElement[bool]:
    key = term.name.removeprefix(METADATA)
    member = (TextMember if isinstance(term.value, str) else NumberMember)(logs.c.metadata, key)
    return cast("ColumnElement[bool]", _COMPARISONS[term.operator](member, term.value))


def _has_project(connection: Connection, organisation_id: int, term: Condition) -> ColumnElement[bool]:
    found = connection.scalars(select(projects.c.id).where(*is_project(organisation_id, term)))
    return or_(false(), *(has_label(connection, organisation_id, "project", id_) for id_ in found.all()))


def _feedback_of(term: Condition) -> tuple[str, Sequence[str | None]]:
    """Return a type of feedback, and the values of which one is wanted, as JSON; none if any is."""
    given = cast("GivenFeedback", term.value)
    if given.value is None:
        return given.type, []
    # A text, or what is written in the same way, such as a number.
    return given.type, [to_json(given.value).decode(), given.value]


def _has_feedback(term: Condition) -> ColumnElement[bool]:
    kind, values = _feedback_of(term)
    bits = 0
    for value in values or [None]:
        bits |= feedback_bit(kind, value)
    # By an expression, which no index has: what is given on one thing is found by that.
    given = is_given(term, feedback.c.type.concat(""))
    on_session = select(literal(1)).join_from(sessions, feedback, feedback.c.session_id == sessions.c.id)
    on_log = select(literal(1)).join_from(sessions, logs, logs.c.session_id == sessions.c.id)
    on_log = on_log.join(feedback, feedback.c.log_id == logs.c.id)
    is_there = or_(
        *(_is_there(query.where(_OF_TOTALS, *given), session_totals) for query in (on_session, on_log))
    )
    # Most sessions are ruled out by the bits.
    return and_(session_totals.c.feedback.bitwise_and(bits) != 0, is_there)


def _is_there(query: Select[Any], of_session: Table) -> ColumnElement[bool]:
    """Return the condition that a query about the session, in a table of sessions, finds something.

    PostgreSQL would answer EXISTS for all sessions at once, of which a list wants the first ones.
    """
    return query.limit(1).correlate(of_session).scalar_subquery().is_not(None)
