"""The IDs of what had others at Humanloop: the same whenever it is read, so that nothing comes in twice."""

from base64 import urlsafe_b64encode
from hashlib import blake2b
from typing import Final

_BYTES: Final = 18  # whole threes, so that nothing is left over: 24 characters


class Identities:
    """Derives IDs.

    Args:
        secret: What nobody can guess, and is another one for each organisation.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()[: blake2b.MAX_KEY_SIZE]

    def derive(self, prefix: str, name: str) -> str:
        """Return the ID with this prefix of what had this name."""
        digest = blake2b(f"{prefix} {name}".encode(), key=self._secret, digest_size=_BYTES).digest()
        return prefix + urlsafe_b64encode(digest).decode()
