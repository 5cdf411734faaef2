"""The signature of a session ID, by which a service trusts the ID of another one."""

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

# A time of 4 bytes, and 32 bytes in Base64: 43 characters; the last one has two unused bits, which are 0.
_SIGNATURE_FORM = re.compile(r"[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


class SharedSecret:
    """A secret that several services share, to verify that a session ID comes from one of them.

    The signature covers the ID, the time and the host that is called. It is valid for five minutes and for
    that host only, so neither an old signature nor one for another service can be used. It proves the sender,
    not the connection, so it stays valid through proxies.

    The port of the host is not signed, as proxies such as nginx leave it out of ``Host``.

    Args:
        secret: 16 random characters or more. A list rotates secrets: the last one signs, all verify. To
            rotate, first add the new one at the front, in all services; then move it to the end; then remove
            the old one.
        hosts: the host names, without ports, by which other services call this one. Needed behind a proxy
            that changes ``Host``. ``None``: the name in ``Host``.

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
        # Derived once: deriving a key takes as long as a signature.
        keys = [hmac.digest(each, b"hl_sessions.propagation", "sha256") for each in checked_secrets(secret)]
        self._signer = itsdangerous.TimestampSigner(keys, key_derivation="none", digest_method=hashlib.sha256)
        self._hosts = None if hosts is None else _checked_names(hosts)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def sign(self, session_id: str, host: str) -> str:
        """Return the signature of an ID for a host, made now or within the last minute.

        Raises:
            ValueError: ``session_id`` is no session ID, or ``host`` no host name.
        """
        return _signature(self._signer, session_id, host, int(time.time()) // REUSED_FOR)

    def verify(self, session_id: str, signature: str, host: str, *, waited: float = 0.0) -> bool:
        """Whether ``signature`` was made for ``session_id`` with one of the secrets, within five minutes.

        Never raises, and never waits.

        Args:
            session_id: the ID, as received.
            signature: its signature, as received.
            host: the host of the call, as received. Ignored if this secret has ``hosts``: then the signature
                has to be for one of those.
            waited: seconds since the call was received.
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


@lru_cache(maxsize=1024)  # most sessions call the same few services many times
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
    """Return the secrets to sign with as a list of bytes, the newest last.

    Raises:
        ConfigurationError: a secret is too short, or not a string; the message does not show it.
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
