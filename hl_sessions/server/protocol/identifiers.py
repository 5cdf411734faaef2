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


def new_identifier(prefix: str) -> str:
    """Make an ID: the prefix, and 24 characters of ``[A-Za-z0-9_-]`` (144 bits) that cannot be guessed."""
    return prefix + urlsafe_b64encode(urandom(18)).decode()


def identifier_pattern(prefix: str) -> str:
    """Give the regular expression of the well-formed IDs with this prefix."""
    return f"^{prefix}[A-Za-z0-9_-]{{1,64}}$"
