"""Makes a change once, however often its request arrives, by storing its key together with its result."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from sqlalchemy import Connection, bindparam, delete, select

from hl_sessions.server.database.bulk_insert import insert_rows
from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.tables import idempotency_keys
from hl_sessions.server.records.refusals import KeyReusedError, RequestUnderWayError

KEPT: Final = timedelta(hours=24)
"""The time within which requests with the same key are the same request."""

# By the key alone, because it is the first column of the index.
_FIND: Final = select(idempotency_keys).where(idempotency_keys.c.key.in_(bindparam("keys", expanding=True)))
_DELETE: Final = delete(idempotency_keys).where(
    idempotency_keys.c.sequence.in_(bindparam("sequences", expanding=True))
)

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_Name: TypeAlias = tuple[int, str]


class IdempotencyKey(NamedTuple):
    """The key under which a client may send a request several times.

    Args:
        organisation_id: The organisation of the client. Each organisation has keys of its own.
        key: The key.
        request_hash: A hash of the request.
    """

    organisation_id: int
    key: str
    request_hash: str

    @property
    def name(self) -> _Name:
        """The name under which the key is unique."""
        return self.organisation_id, self.key


def make_once(
    changes: Callable[[Connection, Sequence[Argument]], Sequence[Result | Exception]],
    connection: Connection,
    given: Sequence[tuple[IdempotencyKey | None, Argument]],
) -> Sequence[Result | Exception]:
    """Make the changes that have not been made before, and return the results of all.

    A refusal is not stored. It has changed nothing, so a repeated request is tried again.

    Args:
        changes: Makes the changes. Its results can be JSON; an exception or ``None`` is a refusal.
        connection: The connection of the transaction.
        given: The argument of each change, and the key of its request, if it has one.

    Returns:
        The result of each change from when it was made, now or earlier.
    """
    keys = {key.name: key for key, _ in given if key is not None}
    if not keys:
        return changes(connection, [argument for _, argument in given])
    now = datetime.now(timezone.utc)
    kept, expired = _find(connection, keys, now - KEPT)
    outcomes: dict[int, Any] = {}
    new: set[_Name] = set()
    for place, (key, _) in enumerate(given):
        if key is not None:
            if key.name in kept:
                outcomes[place] = kept[key.name].answer_to(key)
            elif key.name in new:
                outcomes[place] = RequestUnderWayError()
            new.add(key.name)
    places = [place for place in range(len(given)) if place not in outcomes]
    if places:
        made = changes(connection, [given[place][1] for place in places])
        outcomes.update(zip(places, made, strict=True))
        _keep(connection, [(given[place][0], outcomes[place]) for place in places], expired, now)
    return [outcomes[place] for place in range(len(given))]


class _Kept(NamedTuple):
    request_hash: str
    answer: Any

    def answer_to(self, key: IdempotencyKey) -> Any:
        return self.answer if key.request_hash == self.request_hash else KeyReusedError()


def _find(
    connection: Connection, names: Collection[_Name], before: datetime
) -> tuple[dict[_Name, _Kept], list[int]]:
    """Look up stored results, and the sequences of expired rows that were not deleted yet."""
    kept: dict[_Name, _Kept] = {}
    expired: list[int] = []
    for keys in in_parts(sorted({key for _, key in names})):
        for row in connection.execute(_FIND, {"keys": keys}):
            if row.created_at > before:
                kept[row.organisation_id, row.key] = _Kept(row.request_hash, row.answer)
            elif (row.organisation_id, row.key) in names:
                expired.append(row.sequence)
    return kept, expired


def _keep(
    connection: Connection,
    answered: Sequence[tuple[IdempotencyKey | None, Any]],
    expired: Sequence[int],
    now: datetime,
) -> None:
    """Store keys with their results, after all locks of the changes: see ``records.counts``."""
    for some in in_parts(expired):
        connection.execute(_DELETE, {"sequences": some})
    rows = [
        {**key._asdict(), "answer": answer, "created_at": now}
        for key, answer in answered
        if key is not None and answer is not None and not isinstance(answer, Exception)
    ]
    if rows:
        insert_rows(connection, idempotency_keys, rows)
