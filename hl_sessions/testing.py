"""For the tests of those who write a conversation store.

With pytest, a subclass with a fixture ``store`` is all that it takes:

.. code-block:: python

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def store(self):
            return MyStore(...)
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from hl_sessions.stores import Conversation
from hl_sessions.stores.base import LONGEST_LEASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from hl_sessions.stores import ConversationStore

__all__ = ["StoreConformance"]

PATIENCE = 60.0  # seconds until what has to happen counts as not happening, on a busy machine too
MOMENT = 0.5  # seconds that pass in a test, where time has to
LONG = 3600.0  # seconds that do not
LEASE = LONGEST_LEASE  # seconds
THREADS = 16
# What a store must take literally: for a path, a pattern, a statement, or not ASCII at all.
KEYS = (
    "chat",
    "*",
    "chat?[a-z]",
    "../../etc/passwd",
    "'; DROP TABLE conversations; --",
    "%s {0} :key",
    "a\tb\r\nc\x00d",
    "\N{SNOWMAN} \N{GRINNING FACE}",
    "{hash} {tag}",
    "#http://127.0.0.1:8642/v4#" + "k" * 2_400,
)


def _eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(MOMENT / 20)


class StoreConformance:
    """Tests that a store keeps the contract of :class:`hl_sessions.stores.ConversationStore`.

    Every test is given a store without any conversation, by the fixture ``store`` of a subclass.
    """

    def create(self, store: ConversationStore, key: str, session_id: str) -> Conversation | None:
        """Start a conversation, as the creator of its session does."""
        claimant = f"the creator of {session_id}"
        assert store.claim(key, claimant, lease=LEASE, max_idle=None)
        return store.save(key, claimant, session_id)

    def test_nothing_is_kept_at_first(self, store: ConversationStore) -> None:
        """There is no conversation, and what is said of one changes nothing."""
        assert store.get("chat", max_idle=None) is None
        store.touch("chat", "sesh_1")
        store.release("chat", "nobody")
        store.end("chat")
        assert store.save("chat", "nobody", "sesh_1") is None
        assert store.get("chat", max_idle=None) is None
        assert store.get("chat", max_idle=LONG) is None

    def test_what_is_saved_is_kept(self, store: ConversationStore) -> None:
        """A created session is that of the conversation from then on; nobody can claim it."""
        assert self.create(store, "chat", "sesh_1") == Conversation("sesh_1", None)
        for max_idle in (None, LONG):
            assert store.get("chat", max_idle=max_idle) == Conversation("sesh_1", None)
            assert not store.claim("chat", "another", lease=LEASE, max_idle=max_idle)
        assert store.save("chat", "another", "sesh_2") is None
        assert store.get("chat", max_idle=None) == Conversation("sesh_1", None)

    def test_keys_are_literal(self, store: ConversationStore) -> None:
        """Each key is a conversation of its own, whatever it looks like."""
        for number, key in enumerate(KEYS):
            assert store.get(key, max_idle=None) is None, key
            assert self.create(store, key, f"sesh_{number}"), key
        for number, key in enumerate(KEYS):
            assert store.get(key, max_idle=None) == Conversation(f"sesh_{number}", None), key
        store.end(KEYS[1])
        assert [key for key in KEYS if store.get(key, max_idle=None) is None] == [KEYS[1]]

    def test_one_claim_at_a_time(self, store: ConversationStore) -> None:
        """While one creates nobody else does; only who has the claim can end it."""
        assert store.claim("chat", "first", lease=LEASE, max_idle=None)
        assert not store.claim("chat", "second", lease=LEASE, max_idle=None)
        store.release("chat", "second")
        assert not store.claim("chat", "second", lease=LEASE, max_idle=None)
        store.release("chat", "first")
        assert store.claim("chat", "second", lease=LEASE, max_idle=None)
        assert store.save("chat", "first", "sesh_1") is None
        assert store.save("chat", "second", "sesh_2") == Conversation("sesh_2", None)

    def test_one_claims_of_many(self, store: ConversationStore) -> None:
        """Of many that claim at the same moment exactly one has the claim."""
        start = threading.Barrier(THREADS)
        has_claim: list[bool] = []

        def claim(number: int) -> None:
            start.wait(PATIENCE)
            has_claim.append(store.claim("chat", str(number), lease=LEASE, max_idle=None))

        threads = [threading.Thread(target=claim, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(has_claim) == [False] * (THREADS - 1) + [True]

    def test_a_dead_creator_is_replaced(self, store: ConversationStore) -> None:
        """When a lease is over another takes over, and the first comes too late."""
        assert store.claim("chat", "dead", lease=MOMENT, max_idle=None)
        _eventually(lambda: store.claim("chat", "second", lease=LEASE, max_idle=None))
        assert store.save("chat", "dead", "sesh_1") is None
        store.release("chat", "dead")
        assert store.save("chat", "second", "sesh_2") == Conversation("sesh_2", None)

    def test_an_idle_conversation_is_over(self, store: ConversationStore) -> None:
        """Once it was not used for longer than asked, it is claimed, and replaced by one that knows it."""
        self.create(store, "chat", "sesh_1")
        time.sleep(1.5 * MOMENT)
        assert store.get("chat", max_idle=None) == Conversation("sesh_1", None)
        assert not store.claim("chat", "second", lease=LEASE, max_idle=LONG)
        assert store.get("chat", max_idle=MOMENT) is None
        assert store.claim("chat", "second", lease=LEASE, max_idle=MOMENT)
        assert store.save("chat", "second", "sesh_2") == Conversation("sesh_2", "sesh_1")
        assert store.get("chat", max_idle=LONG) == Conversation("sesh_2", "sesh_1")

    def test_use_keeps_it_from_being_idle(self, store: ConversationStore) -> None:
        """Idle time runs from the last use: of this session, by who was in it or gets it."""
        self.create(store, "chat", "sesh_1")
        time.sleep(1.5 * MOMENT)
        store.touch("chat", "sesh_0")
        assert store.get("chat", max_idle=MOMENT) is None
        store.touch("chat", "sesh_1")
        time.sleep(2 * MOMENT)
        # Again and again, as on a busy machine a moment may pass between the two.
        _eventually(
            lambda: store.get("chat", max_idle=LONG) == store.get("chat", max_idle=2 * MOMENT) is not None
        )
        assert store.get("chat", max_idle=LONG) == Conversation("sesh_1", None)

    def test_a_claim_can_be_renewed(self, store: ConversationStore) -> None:
        """Its claimant claims again, which is no second claim, and keeps others out for longer."""
        assert store.claim("chat", "first", lease=MOMENT, max_idle=None)
        assert store.claim("chat", "first", lease=LEASE, max_idle=None)
        time.sleep(1.5 * MOMENT)
        assert not store.claim("chat", "second", lease=LEASE, max_idle=None)
        assert store.save("chat", "first", "sesh_1") == Conversation("sesh_1", None)

    def test_an_ended_conversation_is_over(self, store: ConversationStore) -> None:
        """The next session knows the one before; touching that one does not bring it back."""
        self.create(store, "chat", "sesh_1")
        store.end("chat")
        assert store.get("chat", max_idle=None) is None
        store.touch("chat", "sesh_1")
        assert store.get("chat", max_idle=None) is None
        assert self.create(store, "chat", "sesh_2") == Conversation("sesh_2", "sesh_1")
        assert store.get("chat", max_idle=None) == Conversation("sesh_2", "sesh_1")
        store.end("chat")
        store.end("chat")
        assert self.create(store, "chat", "sesh_3") == Conversation("sesh_3", "sesh_2")

    def test_an_end_voids_a_claim(self, store: ConversationStore) -> None:
        """Who was creating the session of a conversation that was ended does not bring it back."""
        assert store.claim("chat", "first", lease=LEASE, max_idle=None)
        store.end("chat")
        assert store.save("chat", "first", "sesh_1") is None
        assert self.create(store, "chat", "sesh_2") == Conversation("sesh_2", None)

    def test_a_conversation_can_be_forgotten(self, store: ConversationStore) -> None:
        """Nothing is left of it: neither the session before, nor a claim."""
        self.create(store, "chat", "sesh_1")
        self.create(store, "other", "sesh_2")
        store.forget("chat")
        assert store.get("chat", max_idle=None) is None
        assert store.claim("chat", "first", lease=LEASE, max_idle=None)
        store.forget("chat")
        assert store.save("chat", "first", "sesh_3") is None
        assert self.create(store, "chat", "sesh_4") == Conversation("sesh_4", None)
        store.end("chat")
        store.forget("chat")
        assert self.create(store, "chat", "sesh_5") == Conversation("sesh_5", None)
        store.forget("never")
        assert store.get("other", max_idle=None) == Conversation("sesh_2", None)

    def test_what_is_not_used_is_forgotten(self, store: ConversationStore) -> None:
        """After a time, which a use begins anew, whether or not idle time is asked for."""
        store.forget_after = 3 * MOMENT
        self.create(store, "old", "sesh_1")
        self.create(store, "used", "sesh_2")
        self.create(store, "ended", "sesh_3")
        store.end("ended")
        for _ in range(4):
            time.sleep(MOMENT)
            assert store.get("used", max_idle=None) == Conversation("sesh_2", None)
        assert store.get("old", max_idle=None) is None
        assert self.create(store, "old", "sesh_4") in {
            Conversation("sesh_4", None),
            Conversation("sesh_4", "sesh_1"),  # which a store may still know
        }

    def test_namespaces_are_apart(self, store: ConversationStore) -> None:
        """Conversations with other APIs have other keys, none of which can be mistaken for another."""
        pairs = [("http://a/v4", "chat"), ("http://b/v4", "chat"), ("http://a/v4", "http://a/v4#chat")]
        assert len({store.entry_key(base_url, key) for base_url, key in pairs}) == len(pairs)

    def test_closing(self, store: ConversationStore) -> None:
        """A store can be closed when nobody uses it, and was not yet used, too."""
        with store:
            pass
