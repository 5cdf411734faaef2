"""The signature that earns a session ID from outside trust."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from hl_sessions.client.answers import is_session_id
from hl_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SharedSecret", "checked_secrets"]

MIN_SECRET_LENGTH = 16  # characters
MAX_AGE = 300  # seconds that a signature is good for
MAX_CLOCK_SKEW = 30  # seconds that the clock of another machine may be ahead

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
        """Return the signature of an ID, made now.

        Raises:
            ValueError: ``session_id`` is not of the form of a session ID.
        """
        if not is_session_id(session_id):
            raise ValueError("session_id must be of the form sesh_...")
        return self._signer.sign(session_id).decode("ascii").partition(".")[2]

    def verify(self, session_id: str, signature: str, *, waited: float = 0.0) -> bool:
        """Whether ``signature`` was made for ``session_id`` with one of the secrets, within five minutes.

        Whatever is given, the answer comes at once and is no exception.

        Args:
            session_id: the ID, as it came.
            signature: its signature, as it came.
            waited: seconds since they came.
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
        age = self._signer.get_timestamp() - waited - signed_at.timestamp()
        return -MAX_CLOCK_SKEW <= age <= MAX_AGE


def checked_secrets(secret: object) -> list[bytes]:
    """Return one or several secrets to sign with, the newest last.

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
