"""The contract of conversation stores."""

from __future__ import annotations

import hashlib
import re
import uuid
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from hl_sessions.errors import ConfigurationError
from hl_sessions.process.checks import checked_seconds

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "FORGET_AFTER",
    "FORGOTTEN_AT_ONCE",
    "LONGEST_CLAIM",
    "LONGEST_LEASE",
    "USES_COUNTED",
    "Claim",
    "Conversation",
    "ConversationStore",
    "new_reference_id",
]

FORGET_AFTER = 90 * 24 * 3600.0  # seconds
LONGEST_LEASE = 60.0  # seconds
LONGEST_CLAIM = 2 * LONGEST_LEASE  # seconds that a claim may still be valid, by clocks that nearly agree
FORGOTTEN_AT_ONCE = 10  # conversations that a claim forgets on the way at the most
USES_COUNTED = 10  # of a conversation in the time until it is forgotten, at the least

_NAMESPACE = re.compile(r"[A-Za-z0-9._:-]{0,64}", re.ASCII)


class Conversation(NamedTuple):
    """What a store keeps of a conversation.

    Attributes:
        session_id: the ID of its session.
        previous_id: the ID of the session before that one, ``None`` if it is the first.
        reference_id: the reference ID of the conversation, see :class:`ConversationStore`.
    """

    session_id: str
    previous_id: str | None
    reference_id: str


class Claim(NamedTuple):
    """What is known of a conversation whose session is about to be created.

    Attributes:
        reference_id: the reference ID of the conversation.
        previous_id: the ID of the session before that one, ``None`` if it is the first.
    """

    reference_id: str
    previous_id: str | None


def new_reference_id() -> str:
    """Return a reference ID that nobody can guess."""
    return uuid.uuid4().hex


class ConversationStore(ABC):
    """Keeps the session of each conversation, and who is creating one.

    Many threads, and for a store outside the process many processes, use it at the same time; each method
    is atomic. Times are those of one clock, the store's own. A key is any string of up to about 2,400
    characters (a namespace, a URL and a conversation key), to be taken literally.

    A creator asks :meth:`get`; where there is nothing it tries to :meth:`claim` the key, creates a session
    if it got the claim, and ends the claim with :meth:`save` or :meth:`release`. Who does not get the
    claim asks :meth:`get` again a little later. A creator that died is replaced when its lease is over.

    Whether or not it has a session yet, a conversation that was claimed, or whose :meth:`reference_id` was
    asked for, has a reference ID: at most 64 letters and digits that nobody can guess. It stays, also when a
    claim ends without a session, until the conversation is over: ended, forgotten, or at the next claim or
    question after it was idle for too long. Then another one takes its place.

    A method that fails raises; the conversation's scope then falls back to a session of its own. None may
    wait for long: a store that cannot be reached fails after a second or two. A ``with`` statement closes it.
    :class:`hl_sessions.testing.StoreConformance` tests all of this.

    Args:
        namespace: keeps the conversations of applications apart that share a store: up to 64 letters, digits
            and ``. _ : -``.
        hash_keys: give the store the SHA-256 hash of a key, where keys are personal.
        forget_after: seconds since its last use after which a conversation is forgotten, as if it had never
            been; uses count to a tenth of that. Default: 90 days.

    Raises:
        ConfigurationError: ``namespace`` is not such a string, ``hash_keys`` not a bool, or ``forget_after``
            not a positive number.

    Attributes:
        forget_after: as given.
    """

    #: Whether a method may have to wait, for a disk or a network: then it is not called on an event loop.
    blocking: ClassVar[bool] = True

    _namespace: str = ""
    _hash_keys: bool = False

    forget_after: float = FORGET_AFTER

    def __init__(
        self, *, namespace: str = "", hash_keys: bool = False, forget_after: float = FORGET_AFTER
    ) -> None:
        if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
            raise ConfigurationError(
                f"namespace={namespace!r} must be a str of at most 64 letters, digits and . _ : -"
            )
        if not isinstance(hash_keys, bool):
            raise ConfigurationError(f"hash_keys={hash_keys!r} must be True or False")
        self.forget_after = checked_seconds("forget_after", forget_after)
        self._namespace = namespace
        self._hash_keys = hash_keys

    def entry_key(self, base_url: str, conversation_key: str) -> str:
        """Return the key under which a conversation with the API at ``base_url`` is kept."""
        # Neither a namespace nor a base URL has a "#": no two conversations get the same.
        key = f"{self._namespace}#{base_url}#{conversation_key}"
        return hashlib.sha256(key.encode()).hexdigest() if self._hash_keys else key

    @abstractmethod
    def get(self, key: str, *, max_idle: float | None) -> Conversation | None:
        """Return what is kept of a conversation; ``None`` if there is none, or it is over.

        With a ``max_idle`` a conversation that is found counts as used just now.

        Args:
            key: the conversation.
            max_idle: seconds since it was last used after which a conversation is over; ``None``: never.
        """

    @abstractmethod
    def claim(self, key: str, claimant: str, *, lease: float, max_idle: float | None) -> Claim | None:
        """Reserve the creation of a session for a conversation that has none, which counts as a use.

        The claimant that has it already renews it. While a claim is valid a conversation is not idle.

        Args:
            key: the conversation.
            claimant: a string that no other claim has.
            lease: seconds after which the claim is void, at most :data:`LONGEST_LEASE`. So is a claim that
                would be valid for far longer: it was made by a clock that was ahead.
            max_idle: as for :meth:`get`.

        Returns:
            What is known of the conversation, if it is reserved; ``None`` where :meth:`get` would give an ID,
            or another claim is valid.
        """

    @abstractmethod
    def save(self, key: str, claimant: str, session_id: str) -> Conversation | None:
        """End a claim with the session that was created, used just now.

        Returns:
            What is kept from now on, the session before it included; ``None`` if it was not kept, as another
            claim has taken over, or the conversation was ended.
        """

    @abstractmethod
    def release(self, key: str, claimant: str) -> None:
        """End a claim without a session."""

    @abstractmethod
    def reference_id(self, key: str, *, max_idle: float | None) -> str:
        """Return the reference ID of a conversation, which counts as a use.

        Args:
            key: the conversation.
            max_idle: as for :meth:`get`.
        """

    @abstractmethod
    def touch(self, key: str, reference_id: str) -> None:
        """Note that a conversation was used just now, if this is still its reference ID."""

    @abstractmethod
    def end(self, key: str) -> None:
        """End a conversation, and every claim to create its session; the next one knows what it was."""

    @abstractmethod
    def forget(self, key: str) -> None:
        """Forget a conversation, its sessions and every claim, as if it had never been."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - not every store has something to release
        """Release connections; called once, at the end."""
