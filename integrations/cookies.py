"""The conversation of a browser, in a signed cookie."""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING

from hl_sessions.carrying.secret import checked_secrets
from hl_sessions.conversations.session import RequestSession
from hl_sessions.errors import ConfigurationError
from hl_sessions.process.checks import checked_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["BrowserSession", "SignedCookie"]

MONTH = 30 * 24 * 3600  # seconds
SECURE_SCHEMES = frozenset({"https", "wss"})
MAX_CLOCK_SKEW = 30  # seconds that the clock of another machine may be ahead

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 6265
# A key of 16 random bytes, a time of 4 and a MAC of 32; the unused bits of the last characters are 0.
_VALUE = re.compile(
    r"[A-Za-z0-9_-]{21}[AQgw]\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII
)


class SignedCookie:
    """A cookie that carries a random conversation key, signed so that it cannot be forged.

    Scripts cannot read it (``HttpOnly``). Other sites cannot send it with a request that changes anything
    (``SameSite=Lax``). If it is set over HTTPS, it is sent over HTTPS only (``Secure``). It is set if the
    session is used before the response starts. A forged, foreign, expired or broken cookie counts as none.

    Args:
        secret: 16 random characters or more. A list rotates secrets: the last one signs, all verify.
        name: the name of the cookie.
        max_age: seconds until a browser starts a new conversation.

    Raises:
        ConfigurationError: a secret is too short, ``name`` is no cookie name, or ``max_age`` is not a whole
            number from 1.
        ImportError: itsdangerous is not installed.
    """

    def __init__(
        self, secret: str | Sequence[str], *, name: str = "hl_session", max_age: int = MONTH
    ) -> None:
        try:
            import itsdangerous
        except ImportError as error:
            raise ImportError(
                "SignedCookie needs itsdangerous: pip install 'hl-sessions[signing]'"
            ) from error
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigurationError(f"name={name!r} is not the name of a cookie, like 'hl_session'")
        self.name = name
        self.max_age = checked_count("max_age", max_age, minimum=1)
        self._bad_signature = itsdangerous.BadSignature
        self._unsign = itsdangerous.Signer.unsign
        self._signer = itsdangerous.TimestampSigner(
            checked_secrets(secret),
            salt=b"hl_sessions.cookie." + name.encode("ascii"),
            key_derivation="hmac",
            digest_method=hashlib.sha256,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"

    def key(self, cookie_headers: Iterable[str]) -> str | None:
        """Return the conversation key of a browser, ``None`` if it sends no valid cookie, or several."""
        keys = set()
        for header in cookie_headers:
            for pair in header.split(";"):
                name, _, value = pair.partition("=")
                if name.strip(" \t") == self.name:
                    keys.add(self._verified(value.strip(" \t")))
        keys.discard(None)
        # A site on a neighbouring domain can add a cookie, but cannot remove this one.
        return keys.pop() if len(keys) == 1 else None

    def header(self, key: str, *, is_secure: bool) -> str:
        """Return the ``Set-Cookie`` header value for a conversation key."""
        value = self._signer.sign(key).decode("ascii")
        secure = "; Secure" if is_secure else ""
        return f"{self.name}={value}; Max-Age={self.max_age}; Path=/; HttpOnly; SameSite=Lax{secure}"

    def _verified(self, value: str) -> str | None:
        if not _VALUE.fullmatch(value):
            return None
        try:
            key, _, time = self._unsign(self._signer, value).decode("ascii").partition(".")
        except self._bad_signature:
            return None
        # The signer itself would reject a time that is a second ahead, and would convert times to dates.
        age = self._signer.get_timestamp() - int.from_bytes(urlsafe_b64decode(time + "=="), "big")
        return key if -MAX_CLOCK_SKEW <= age <= self.max_age else None


class BrowserSession(RequestSession):
    """The session of a request from a browser, in the conversation of its cookie."""

    _cookie: SignedCookie
    _header: str | None = None
    #: Whether the conversation is new, so that the browser needs a cookie.
    is_new = False
    _is_logged_into = False

    def made_key(self) -> str:
        """Make the key of a new conversation, for a new cookie."""
        self.is_new = True
        return secrets.token_urlsafe(16)

    def _note_log(self) -> None:
        self._is_logged_into = True
        super()._note_log()

    def set_cookie(self) -> str | None:
        """Return the ``Set-Cookie`` header value of a new conversation, ``None`` if the session is unused."""
        is_used = self.peek() is not None or self._is_logged_into or self._logs_by_reference()
        if self.key is None or not is_used:
            return None
        if self._header is None:
            self._header = self._cookie.header(self.key, is_secure=self._scheme in SECURE_SCHEMES)
        return self._header
