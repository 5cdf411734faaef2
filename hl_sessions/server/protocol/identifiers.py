"""The IDs of the v4 protocol: a prefix for the kind, the time, and a part that cannot be guessed.

IDs of the same time are neighbours in an index of the database. With random IDs, each row of a transaction
would change a different page of the index.
"""

from base64 import urlsafe_b64encode
from os import urandom
from time import time_ns
from typing import Final

SESSION: Final = "sesh_"
PROJECT: Final = "pr_"
LOG: Final = "data_"
FEEDBACK: Final = "ann_"
CONFIG: Final = "config_"
TEAM: Final = "tm_"
KEY: Final = "key_"

_TIME_BYTES: Final = 6
_NANOSECONDS: Final = 1_000_000
"""The time is that of the clock, in milliseconds."""

_BYTES: Final = 12
_CHARACTERS: Final = 16
"""The number of random bytes, and of the characters that encode them; multiples of three leave no padding
between IDs.
"""

_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_IN_ORDER: Final = bytes.maketrans(_BASE64, bytes(sorted(_BASE64)))
"""Replaces characters of base64 by characters that sort like the values they encode."""


def new_identifier(prefix: str) -> str:
    """Make an ID.

    An ID is the prefix and 24 characters of ``[A-Za-z0-9_-]``: 8 for the time, and 16 (96 bits) that cannot
    be guessed.
    """
    [identifier] = new_identifiers(prefix, 1)
    return identifier


def new_identifiers(prefix: str, count: int) -> list[str]:
    """Make several IDs, much faster than one by one."""
    time = (time_ns() // _NANOSECONDS).to_bytes(_TIME_BYTES, "big")
    beginning = prefix + urlsafe_b64encode(time).translate(_IN_ORDER).decode()
    characters = urlsafe_b64encode(urandom(count * _BYTES)).decode()
    return [beginning + characters[at : at + _CHARACTERS] for at in range(0, len(characters), _CHARACTERS)]


def identifier_pattern(prefix: str) -> str:
    """Return the regular expression of the well-formed IDs with this prefix."""
    return f"^{prefix}[A-Za-z0-9_-]{{1,64}}$"
