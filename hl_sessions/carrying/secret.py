"""The signature that earns a session ID from outside trust."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from hl_sessions.carrying.hosts import host_name, parsed_host, shown_host
from hl_sessions.client.answers import is_session_id
from hl_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from itsdangerous import TimestampSigner

__all__ = ["SharedSecret", "checked_secrets"]

MIN_SECRET_LENGTH = 16  # characters
MAX_AGE = 300  # seconds that a signature is good for
REUSED_FOR = 60  # seconds in which the same call gets the same signature
MAX_CLOCK_SKEW = 30  # seconds that the clock of another machine may be ahead

# A time of 4 bytes, and 32 bytes in Base64: 43 characters, of whose last one two bits are unused and 0.
_SIGNATURE_FORM = re.compile(r"[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


class SharedSecret:
    """A secret of several services, with which they tell session IDs of each other from all others.

    The signature covers the ID, the time and the host that is called. It is good for five minutes, so that
    one that was overheard soon is worthless, and for no other host, so that one that was sent on is so at
    once. It vouches for the sender, and so it holds through proxies.

    The host is its name without the port: proxies such as nginx leave the port out of ``Host``.

    Args:
        secret: 16 random characters or more. A list rotates secrets: the last one signs, all verify; so add
            the new one everywhere, at the front first, then move it to the end, then take the old one out.
        hosts: the names, without ports, by which others call this service, for one behind a proxy that
            changes ``Host``; ``None``: the name in ``Host``.

    Raises:
        ConfigurationError: a secret is too short, or not a string, or ``hosts`` is not a list of names.
        ImportError: itsdangerous is not installed.
    """

    def __init__(self, secret: str | Sequence[str], *, hosts: Collection[str] | None = None) -> None:
        try:
            import itsdangerous
        except ImportError as error:
            raise ImportError(
                "SharedSecret needs itsdangerous: pip install 'hl-sessions[signing]'"
            ) from error
        self._bad_signature = itsdangerous.BadSignature
        # Derived here, and not at each signature: that takes as long as the signature itself.
        keys = [hmac.digest(each, b"hl_sessions.propagation", "sha256") for each in checked_secrets(secret)]
        self._signer = itsdangerous.TimestampSigner(keys, key_derivation="none", digest_method=hashlib.sha256)
        self._hosts = None if hosts is None else _checked_names(hosts)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def sign(self, session_id: str, host: str) -> str:
        """Return the signature of an ID for a host, made now or within the last minute.

        Raises:
            ValueError: ``session_id`` is not of the form of a session ID, or ``host`` not the name of a host.
        """
        return _signature(self._signer, session_id, host, int(time.time()) // REUSED_FOR)

    def verify(self, session_id: str, signature: str, host: str, *, waited: float = 0.0) -> bool:
        """Whether ``signature`` was made for ``session_id`` with one of the secrets, within five minutes.

        Whatever is given, the answer comes at once and is no exception.

        Args:
            session_id: the ID, as it came.
            signature: its signature, as it came.
            host: the host that the call is addressed to, as it came. It does not count where ``hosts`` names
                those of this service: then the signature has to be for one of them.
            waited: seconds since they came.
        """
        if not (
            is_session_id(session_id)
            and isinstance(signature, str)
            and _SIGNATURE_FORM.fullmatch(signature) is not None
        ):
            return False
        names = (host_name(host),) if self._hosts is None else self._hosts
        return any(
            name is not None and self._is_good(_signed(session_id, name), signature, waited) for name in names
        )

    def _is_good(self, signed: str, signature: str, waited: float) -> bool:
        try:
            _, signed_at = self._signer.unsign(f"{signed}.{signature}", return_timestamp=True)
        except self._bad_signature:
            return False
        age = self._signer.get_timestamp() - waited - signed_at.timestamp()
        return -MAX_CLOCK_SKEW <= age <= MAX_AGE


@lru_cache(maxsize=1024)  # most sessions call the same few services again and again
def _signature(signer: TimestampSigner, session_id: str, host: str, _: int) -> str:
    if not is_session_id(session_id):
        raise ValueError("session_id must be of the form sesh_...")
    name = host_name(host)
    if name is None:
        raise ValueError(f"host={shown_host(host)} is not the name of a host")
    signed = _signed(session_id, name)
    return signer.sign(signed).decode("ascii")[len(signed) + 1 :]


def _signed(session_id: str, host: str) -> str:
    return f"{session_id} {host}"  # neither has a space


def _checked_names(hosts: object) -> frozenset[str]:
    hint = "give a list of names without ports, like ['retrieval.internal'], or None"
    if not isinstance(hosts, (list, tuple, set, frozenset)) or not hosts:
        raise ConfigurationError(f"hosts={shown_host(hosts)} is no list of host names; {hint}")
    names = set()
    for host in hosts:
        parsed = parsed_host(host)
        if parsed is None or parsed[1] is not None:
            raise ConfigurationError(f"hosts has {shown_host(host)}, which is not the name of a host; {hint}")
        names.add(parsed[0])
    return frozenset(names)


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
