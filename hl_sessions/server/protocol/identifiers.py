"""The IDs of the v4 protocol: a prefix that names the kind, and a part that nobody can guess or count."""

from base64 import urlsafe_b64encode
from os import urandom
from typing import Final

SESSION: Final = "sesh_"
PROJECT: Final = "pr_"
LOG: Final = "data_"
FEEDBACK: Final = "ann_"
CONFIG: Final = "config_"
TEAM: Final = "tm_"
KEY: Final = "key_"

_BYTES: Final = 18
_CHARACTERS: Final = 24
"""How many bytes become how many characters: whole threes, so that nothing is left between two IDs."""


def new_identifier(prefix: str) -> str:
    """Make an ID: the prefix, and 24 characters of ``[A-Za-z0-9_-]`` (144 bits) that cannot be guessed."""
    [identifier] = new_identifiers(prefix, 1)
    return identifier


def new_identifiers(prefix: str, count: int) -> list[str]:
    """Make as many IDs, in a fraction of the time that they take one by one."""
    characters = urlsafe_b64encode(urandom(count * _BYTES)).decode()
    return [prefix + characters[at : at + _CHARACTERS] for at in range(0, len(characters), _CHARACTERS)]


def identifier_pattern(prefix: str) -> str:
    """Give the regular expression of the well-formed IDs with this prefix."""
    return f"^{prefix}[A-Za-z0-9_-]{{1,64}}$"
