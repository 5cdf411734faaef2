"""Terms of which an index knows the sessions, if they are few: then nothing else is looked through."""

from collections.abc import Sequence
from functools import reduce
from typing import Any, Final

from sqlalchemy import Connection, Select, select

from hl_sessions.server.database.tables import feedback, labels, logs, session_labels, sessions
from hl_sessions.server.finding.filter_conditions import began, is_given, is_told
from hl_sessions.server.finding.filter_language import Condition, Term
from hl_sessions.server.records.labels import COUNTED_KINDS, is_named

_FEW: Final = 5_000
"""How many sessions are looked at one by one, rather than all in their order."""

_INDEXED: Final = frozenset({"user", "reference", "feedback", *COUNTED_KINDS})


def find_few(
    connection: Connection, organisation_id: int, terms: Sequence[Term]
) -> tuple[set[int] | None, Sequence[Term]]:
    """Find the few sessions of which terms hold, by indexes alone.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        terms: The terms of a filter.

    Returns:
        The sequences of the sessions, ``None`` when there are many, and the terms that say nothing about them
        yet.
    """
    found: list[set[int]] = []
    known: list[Term] = []
    wanted = [term for term in terms if isinstance(term, Condition) and not term.negated]
    begins = [term for term in wanted if term.name == "began"]
    groups = [[term] for term in wanted if term.name in _INDEXED]
    # Parts of a name together, because all names are read for them.
    names = [term for term in wanted if term.name == "name"]
    if names:
        groups.append(names)
    # The beginning alone is what the list is in the order of.
    if begins and len(begins) < len(terms):
        groups.append(begins)
    for group in groups:
        few = _find(connection, organisation_id, group)
        if few is not None:
            found.append(few)
            known += group
    if not found:
        return None, terms
    return reduce(set.intersection, found), [term for term in terms if term not in known]


def _find(connection: Connection, organisation_id: int, group: Sequence[Condition]) -> set[int] | None:
    of_reader = sessions.c.organisation_id == organisation_id
    term = group[0]
    if term.name in COUNTED_KINDS:
        named = is_named(organisation_id, term.name, str(term.value))
        of_label = (
            session_labels.c.label_sequence == select(labels.c.sequence).where(*named).scalar_subquery()
        )
        return find_few_of(connection, select(session_labels.c.session_sequence).where(of_label))
    if term.name != "feedback":
        query = select(sessions.c.sequence).where(of_reader)
        query = query.where(*map(began if term.name == "began" else is_told, group))
        if term.name == "name":
            # SQLite uses the index of names for a part of a name only if it is told that there is one.
            query = query.where(sessions.c.name.is_not(None))
        return find_few_of(connection, query)
    given = is_given(term)
    if find_few_of(connection, select(feedback.c.sequence).where(*given)) is None:
        return None
    on_datapoints = select(sessions.c.sequence).join_from(feedback, logs, logs.c.id == feedback.c.log_id)
    on_datapoints = on_datapoints.join(sessions, sessions.c.id == logs.c.session_id)
    on_sessions = select(sessions.c.sequence).join_from(
        feedback, sessions, sessions.c.id == feedback.c.session_id
    )
    both = (query.where(*given, of_reader) for query in (on_datapoints, on_sessions))
    return {sequence for query in both for sequence in connection.scalars(query)}


def find_few_of(connection: Connection, query: Select[Any]) -> set[int] | None:
    """Return what a query finds; ``None`` if that is more than a few."""
    found = connection.scalars(query.limit(_FEW + 1)).all()
    return set(found) if len(found) <= _FEW else None
