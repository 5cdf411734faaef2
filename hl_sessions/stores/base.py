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
LONGEST_CLAIM = 2 * LONGEST_LEASE  # seconds that a claim may still be valid, with room for clocks that differ
FORGOTTEN_AT_ONCE = 10  # the most conversations that one claim forgets
USES_COUNTED = 10  # the least uses of a conversation that are counted within forget_after

_NAMESPACE = re.compile(r"[A-Za-z0-9._:-]{0,64}", re.ASCII)


class Conversation(NamedTuple):
    """A conversation that has a session.

    Attributes:
        session_id: the ID of its session.
        previous_id: the ID of the session before, ``None`` if this is the first.
        reference_id: the reference ID of the conversation, see :class:`ConversationStore`.
    """

    session_id: str
    previous_id: str | None
    reference_id: str


class Claim(NamedTuple):
    """A conversation whose session is about to be created.

    Attributes:
        reference_id: the reference ID of the conversation.
        previous_id: the ID of the session before, ``None`` if this will be the first.
    """

    reference_id: str
    previous_id: str | None


def new_reference_id() -> str:
    """Return a random reference ID, which cannot be guessed."""
    return uuid.uuid4().hex


class ConversationStore(ABC):
    """Keeps the session of each conversation, and the claim to create one.

    Many threads use a store at the same time, and many processes if it lies outside the process. Each method
    is atomic. All times are those of the store's own clock. A key is any string of up to about 2,400
    characters (a namespace, a URL and a conversation key), which the store takes literally.

    A creator of a session first calls :meth:`get`. If there is no conversation, it tries to :meth:`claim` the
    key. With the claim it creates a session, and ends the claim with :meth:`save` or :meth:`release`. Without
    the claim it calls :meth:`get` again a little later. When the lease of a creator is over, for example
    because it died, another one can claim the key.

    A conversation has a reference ID from its first claim or :meth:`reference_id` on, also before it has a
    session: at most 64 letters and digits, which cannot be guessed. The reference ID stays the same, also if
    a claim ends without a session, until the conversation is over. A conversation is over when it is ended or
    forgotten, and at a claim or :meth:`reference_id` after too long an idle time. Then it gets a new one.

    A method that fails raises an exception; the scope then uses a session without the store. No method may
    wait for long: a store that cannot be reached fails after a second or two. A ``with`` statement closes the
    store. :class:`hl_sessions.testing.StoreConformance` tests all of this.

    Args:
        namespace: keeps the conversations of several applications in one store apart: up to 64 letters,
            digits and ``. _ : -``.
        hash_keys: give the store only the SHA-256 hash of a key, for keys that are personal data.
        forget_after: seconds after its last use until a conversation is forgotten. Uses are counted with a
            precision of a tenth of that. Default: 90 days.

    Raises:
        ConfigurationError: ``namespace`` is not such a string, ``hash_keys`` not a bool, or ``forget_after``
            not a positive number.

    Attributes:
        forget_after: the given number of seconds.
    """

    #: Whether a method may wait for a disk or a network: then it is not called on an event loop.
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
        # Neither a namespace nor a base URL has a "#", so no two conversations get the same key.
        key = f"{self._namespace}#{base_url}#{conversation_key}"
        return hashlib.sha256(key.encode()).hexdigest() if self._hash_keys else key

    @abstractmethod
    def get(self, key: str, *, max_idle: float | None) -> Conversation | None:
        """Return a conversation; ``None`` if there is none, or it is over.

        With a ``max_idle``, finding a conversation counts as a use.

        Args:
            key: the conversation.
            max_idle: seconds after its last use until a conversation is over; ``None``: never.
        """

    @abstractmethod
    def claim(self, key: str, claimant: str, *, lease: float, max_idle: float | None) -> Claim | None:
        """Claim the creation of a session, for a conversation that has none. A claim counts as a use.

        A claimant that has the claim already renews it. While a claim is valid, the conversation is not idle.

        Args:
            key: the conversation.
            claimant: a string that no other claim has.
            lease: seconds until the claim is void, at most :data:`LONGEST_LEASE`. A claim that would be valid
                for far longer is void, too: it was made by a clock that was ahead.
            max_idle: as for :meth:`get`.

        Returns:
            The claimed conversation. ``None`` if :meth:`get` would return one, or another claim is valid.
        """

    @abstractmethod
    def save(self, key: str, claimant: str, session_id: str) -> Conversation | None:
        """End a claim with the created session. This counts as a use.

        Returns:
            The conversation with that session. ``None`` if the session was not kept, as another claim has
            taken over, or the conversation was ended.
        """

    @abstractmethod
    def release(self, key: str, claimant: str) -> None:
        """End a claim without a session."""

    @abstractmethod
    def reference_id(self, key: str, *, max_idle: float | None) -> str:
        """Return the reference ID of a conversation. This counts as a use.

        Args:
            key: the conversation.
            max_idle: as for :meth:`get`.
        """

    @abstractmethod
    def touch(self, key: str, reference_id: str) -> None:
        """Count a use of a conversation now, if this is still its reference ID."""

    @abstractmethod
    def end(self, key: str) -> None:
        """End a conversation and any claim on it; its next session knows the ID of the former one."""

    @abstractmethod
    def forget(self, key: str) -> None:
        """Forget a conversation, its sessions and any claim on it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - not every store has something to release
        """Release connections; called once, at the end."""
