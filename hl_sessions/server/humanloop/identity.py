"""Derives IDs from those at Humanloop, the same ones each time, so that a second import adds nothing."""

from base64 import urlsafe_b64encode
from hashlib import blake2b
from typing import Final

_BYTES: Final = 18  # multiples of three need no padding: 24 characters


class Identities:
    """Derives IDs.

    Args:
        secret: A text that cannot be guessed, and is different for each organisation.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()[: blake2b.MAX_KEY_SIZE]

    def derive(self, prefix: str, name: str) -> str:
        """Return the ID with this prefix for a record of this name."""
        digest = blake2b(f"{prefix} {name}".encode(), key=self._secret, digest_size=_BYTES).digest()
        return prefix + urlsafe_b64encode(digest).decode()
