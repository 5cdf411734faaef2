"""The header fields that name a session ID in calls between services.

A call carries its session as a member of the W3C ``baggage`` header, ``session.id=sesh_...``, or in a
header of its own, ``X-Session-ID: sesh_...``. The signature of a :class:`~hl_sessions.carrying.SharedSecret`
is in a third one, ``X-Session-Signature``: tracing libraries take what follows an ID in baggage for a part of
it, and send all baggage on to every host.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from hl_sessions.client.answers import is_session_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "BAGGAGE_HEADER",
    "BAGGAGE_KEY",
    "PLAIN_HEADER",
    "SIGNATURE_HEADER",
    "baggage_value",
    "baggage_values",
    "baggage_with",
    "named_session_id",
]

BAGGAGE_HEADER = "baggage"
BAGGAGE_KEY = "session.id"
PLAIN_HEADER = "X-Session-ID"
SIGNATURE_HEADER = "X-Session-Signature"

MAX_HEADER_LENGTH = 8192  # characters, the least that W3C baggage asks for

_SPACE = " \t"


def baggage_values(header: str, name: str) -> Iterator[str]:
    """Yield the values that a ``baggage`` header has for a key, percent-encoded, without their properties."""
    return (value.partition(";")[0].strip(_SPACE) for key, value in _members(header) if key == name)


def baggage_value(headers: Sequence[str], name: str) -> str | None:
    """Return the value that the ``baggage`` headers of a call have for a key, without its properties.

    ``None``: there is no value, or more than one, or the headers are too long.

    Raises:
        UnicodeDecodeError: the percent-decoded value is not UTF-8.
    """
    if sum(map(len, headers)) > MAX_HEADER_LENGTH:
        return None
    values = {value for header in headers for value in baggage_values(header, name)}
    return unquote(values.pop(), errors="strict") if len(values) == 1 else None


@lru_cache(maxsize=256)  # the calls of a session have the same
def baggage_with(header: str | None, session_id: str) -> str:
    """Return a ``baggage`` header that names this session and no other, beside its other members."""
    if header is None:
        return f"{BAGGAGE_KEY}={session_id}"
    others = [member for member in header.split(",") if _key(member) not in {"", BAGGAGE_KEY}]
    return ",".join([*others, f"{BAGGAGE_KEY}={session_id}"])


def named_session_id(baggage_headers: Iterable[str], plain_headers: Iterable[str]) -> str | None:
    """Return the session ID that the headers of a call name. Nothing is verified yet.

    Args:
        baggage_headers: the values of all its ``baggage`` headers.
        plain_headers: the values of all its ``X-Session-ID`` headers.

    Returns:
        The ID, of the form ``sesh_...``. ``None``: there is no ID, or a malformed one, or more than one, or a
        header is too long.
    """
    baggage, plain = list(baggage_headers), list(plain_headers)
    if len(plain) > 1 or any(sum(map(len, header)) > MAX_HEADER_LENGTH for header in (baggage, plain)):
        return None
    named = {unquote(value) for header in baggage for value in baggage_values(header, BAGGAGE_KEY)}
    named.update(unquote(value.strip(_SPACE)) for value in plain)
    session_id = named.pop() if len(named) == 1 else None
    return session_id if is_session_id(session_id) else None


def _members(header: str) -> Iterator[tuple[str, str]]:
    return ((_key(member), member.partition("=")[2]) for member in header.split(","))


def _key(member: str) -> str:
    return member.partition("=")[0].strip(_SPACE)
