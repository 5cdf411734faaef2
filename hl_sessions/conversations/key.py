"""Conversation keys."""

from __future__ import annotations

import uuid

__all__ = ["ConversationKey", "checked_key"]

ConversationKey = str | int | uuid.UUID

MAX_KEY_LENGTH = 256  # characters


def checked_key(key: object, name: str = "key") -> str:
    """Return a conversation key as a string.

    Raises:
        TypeError: ``key`` is not a ``str``, an ``int`` or a ``uuid.UUID``.
        ValueError: ``key`` is empty, longer than 256 characters, or not Unicode text.
    """
    if type(key) is str and 0 < len(key) <= MAX_KEY_LENGTH and key.isascii():  # almost always
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        if key.bit_length() > 4 * MAX_KEY_LENGTH:  # far too long; turning it into a string may be refused
            raise ValueError(f"{name} must have at most {MAX_KEY_LENGTH} characters")
        key = int.__repr__(key)
    elif isinstance(key, uuid.UUID):
        return str(key)
    if not isinstance(key, str):
        raise TypeError(f"{name} must be a str, an int or a uuid.UUID, not {type(key).__name__}")
    if not key:
        raise ValueError(f"{name} must not be empty; None means no key")
    if len(key) > MAX_KEY_LENGTH:
        raise ValueError(f"{name} must have at most {MAX_KEY_LENGTH} characters, not {len(key)}")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} is not Unicode text: {error.reason}") from None
    return str.__str__(key)  # the text of a str enum's member, whose own str() may differ
