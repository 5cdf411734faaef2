"""Session IDs on their way between services: the header fields, and the signature that earns trust.

A call carries its session as a member of the W3C ``baggage`` header, ``session.id=sesh_...``, or in a
header of its own, ``X-Session-ID: sesh_...``. With a :class:`SharedSecret` the ID is followed by
``;signature=...``, which in baggage is a property of the member.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from hl_sessions.client import is_session_id
from hl_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "BAGGAGE_HEADER",
    "BAGGAGE_KEY",
    "PLAIN_HEADER",
    "SharedSecret",
    "baggage_keys",
    "checked_secrets",
    "encoded",
    "session_ids",
]

BAGGAGE_HEADER = "baggage"
BAGGAGE_KEY = "session.id"
PLAIN_HEADER = "X-Session-ID"

MIN_SECRET_LENGTH = 16  # characters
MAX_AGE = 300  # seconds that a signature is good for
MAX_CLOCK_SKEW = 30  # seconds that the clock of another machine may be ahead
MAX_HEADER_LENGTH = 8192  # characters, the least that W3C baggage asks for

_SIGNATURE = "signature"
_SPACE = " \t"
# A time of 4 bytes, and 32 bytes in Base64: 43 characters, of whose last one two bits are unused and 0.
_SIGNATURE_FORM = re.compile(r"[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


class SharedSecret:
    """A secret of several services, with which they tell session IDs of each other from all others.

    The signature covers the ID and the time: it is good for five minutes, so that one that was overheard
    soon is worthless. It vouches for the sender, and so it holds through proxies.

    Args:
        secret: 16 random characters or more. A list rotates secrets: the last one signs, all verify; so add
            the new one everywhere, at the front first, then move it to the end, then take the old one out.

    Raises:
        ConfigurationError: a secret is too short, or not a string.
        ImportError: itsdangerous is not installed.
    """

    def __init__(self, secret: str | Sequence[str]) -> None:
        try:
            import itsdangerous
        except ImportError as error:
            raise ImportError(
                "SharedSecret needs itsdangerous: pip install 'hl-sessions[signing]'"
            ) from error
        self._bad_signature = itsdangerous.BadSignature
        self._signer = itsdangerous.TimestampSigner(
            checked_secrets(secret),
            salt=b"hl_sessions.propagation",
            key_derivation="hmac",
            digest_method=hashlib.sha256,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def sign(self, session_id: str) -> str:
        """Give the signature of an ID, made now.

        Raises:
            ValueError: ``session_id`` is not of the form of a session ID.
        """
        if not is_session_id(session_id):
            raise ValueError("session_id must be of the form sesh_...")
        return self._signer.sign(session_id).decode("ascii").partition(".")[2]

    def verify(self, session_id: str, signature: str) -> bool:
        """Whether ``signature`` was made for ``session_id`` with one of the secrets, within five minutes.

        Whatever is given, the answer comes at once and is no exception.
        """
        if not (
            is_session_id(session_id)
            and isinstance(signature, str)
            and _SIGNATURE_FORM.fullmatch(signature) is not None
        ):
            return False
        try:
            _, signed_at = self._signer.unsign(f"{session_id}.{signature}", return_timestamp=True)
        except self._bad_signature:
            return False
        age = self._signer.get_timestamp() - signed_at.timestamp()
        return -MAX_CLOCK_SKEW <= age <= MAX_AGE


def checked_secrets(secret: object) -> list[bytes]:
    """Give one or several secrets to sign with, the newest last.

    Raises:
        ConfigurationError: one is too short, or not a string; the message does not show it.
    """
    hint = "give a str, or a list of them to rotate, of 16 random characters or more (value not shown)"
    secrets = [secret] if isinstance(secret, str) else secret
    if not isinstance(secrets, (list, tuple)) or not secrets:
        raise ConfigurationError(f"secret is a {type(secret).__name__} without a secret; {hint}")
    checked = []
    for each in secrets:
        if not isinstance(each, str):
            raise ConfigurationError(f"secret holds a {type(each).__name__}; {hint}")
        if len(each) < MIN_SECRET_LENGTH:
            raise ConfigurationError(f"secret has only {len(each)} characters; {hint}")
        try:
            checked.append(each.encode())
        except UnicodeEncodeError:
            raise ConfigurationError(f"secret is not Unicode text; {hint}") from None
    return checked


def encoded(session_id: str, signature: str | None = None) -> str:
    """Give what both carriers carry: an ID of the form ``sesh_...``, with its signature if it has one."""
    return session_id if signature is None else f"{session_id};{_SIGNATURE}={signature}"


def baggage_keys(header: str) -> Iterator[str]:
    """Give the keys of a ``baggage`` header."""
    return (key for key, _ in _members(header))


def session_ids(
    baggage_headers: Iterable[str], plain_headers: Iterable[str]
) -> tuple[str, str | None] | None:
    """Give the session that the headers of a call name. Nothing is verified yet.

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
