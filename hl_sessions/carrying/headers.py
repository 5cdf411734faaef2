"""Session IDs on their way between services: the header fields that name them.

A call carries its session as a member of the W3C ``baggage`` header, ``session.id=sesh_...``, or in a
header of its own, ``X-Session-ID: sesh_...``. With a :class:`~hl_sessions.carrying.SharedSecret` the ID is
followed by ``;signature=...``, which in baggage is a property of the member.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from hl_sessions.client.answers import is_session_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "BAGGAGE_HEADER",
    "BAGGAGE_KEY",
    "PLAIN_HEADER",
    "baggage_keys",
    "baggage_value",
    "encoded",
    "session_ids",
]

BAGGAGE_HEADER = "baggage"
BAGGAGE_KEY = "session.id"
PLAIN_HEADER = "X-Session-ID"

MAX_HEADER_LENGTH = 8192  # characters, the least that W3C baggage asks for

_SIGNATURE = "signature"
_SPACE = " \t"


def encoded(session_id: str, signature: str | None = None) -> str:
    """Return what both carriers carry: an ID of the form ``sesh_...``, with its signature if it has one."""
    return session_id if signature is None else f"{session_id};{_SIGNATURE}={signature}"


def baggage_keys(header: str) -> Iterator[str]:
    """Yield the keys of a ``baggage`` header."""
    return (key for key, _ in _members(header))


def baggage_value(headers: Sequence[str], name: str) -> str | None:
    """Return the value that the ``baggage`` headers of a call have for a key, without its properties.

    ``None``: there is none, or more than one, or the headers are too long.

    Raises:
        UnicodeDecodeError: it is no text once its percent signs are decoded.
    """
    if sum(map(len, headers)) > MAX_HEADER_LENGTH:
        return None
    values = {value.partition(";")[0] for header in headers for key, value in _members(header) if key == name}
    return unquote(values.pop().strip(_SPACE), errors="strict") if len(values) == 1 else None


def session_ids(
    baggage_headers: Iterable[str], plain_headers: Iterable[str]
) -> tuple[str, str | None] | None:
    """Return the session that the headers of a call name. Nothing is verified yet.

    Args:
        baggage_headers: the values of all its ``baggage`` headers.
        plain_headers: the values of all its ``X-Session-ID`` headers.

    Returns:
        The ID, of the form ``sesh_...``, and its signature as it came or ``None``. ``None`` instead of both:
        there is no ID, or one that is malformed, or more than one, or a header is too long.
    """
    baggage, plain = list(baggage_headers), list(plain_headers)
    if len(plain) > 1 or any(sum(map(len, header)) > MAX_HEADER_LENGTH for header in (baggage, plain)):
        return None
    named = {_decoded(value) for header in baggage for key, value in _members(header) if key == BAGGAGE_KEY}
    named.update(map(_decoded, plain))
    return named.pop() if len(named) == 1 else None


def _members(header: str) -> Iterator[tuple[str, str]]:
    for member in header.split(","):
        key, _, value = member.partition("=")
        yield key.strip(_SPACE), value


def _decoded(text: str) -> tuple[str, str | None] | None:
    value, *properties = text.split(";")
    session_id = unquote(value.strip(_SPACE))
    signatures = []
    for each in properties:
        key, _, signature = each.partition("=")
        if key.strip(_SPACE) == _SIGNATURE:
            signatures.append(unquote(signature.strip(_SPACE)))
    if not is_session_id(session_id) or len(signatures) > 1:
        return None
    return session_id, signatures[0] if signatures else None
