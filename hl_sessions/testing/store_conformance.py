"""The conformance tests for conversation stores.

With pytest, write a subclass that has a fixture ``store``:

.. code-block:: python

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def store(self):
            return MyStore(...)
"""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

from hl_sessions.stores.base import LONGEST_LEASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from hl_sessions.stores import Claim, Conversation, ConversationStore

__all__ = ["StoreConformance"]

PATIENCE = 60.0  # seconds to wait for an event before a test fails, enough for a busy machine
MOMENT = 0.5  # seconds that a test lets pass
LONG = 3600.0  # seconds that never pass in a test
LEASE = LONGEST_LEASE  # seconds
THREADS = 16
# Keys that a store must take literally: they look like a path, a pattern or a statement, or are not ASCII.
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


def _ids(conversation: Conversation | None) -> tuple[str, str | None] | None:
    """Return the IDs of the session of a conversation, and of the session before."""
    return None if conversation is None else (conversation.session_id, conversation.previous_id)


class StoreConformance:
    """Tests that a store keeps the contract of :class:`hl_sessions.stores.ConversationStore`.

    The fixture ``store`` of a subclass gives each test a store without any conversation.
    """

    def create(self, store: ConversationStore, key: str, session_id: str) -> Conversation | None:
        """Start a conversation like the creator of its session; check that the claim has the former ID."""
        claimant = f"the creator of {session_id}"
        claim = store.claim(key, claimant, lease=LEASE, max_idle=None)
        assert claim is not None
        kept = store.save(key, claimant, session_id)
        assert kept == (session_id, claim.previous_id, claim.reference_id)
        return kept

    def test_nothing_is_kept_at_first(self, store: ConversationStore) -> None:
        """There is no conversation, and calls about one change nothing."""
        assert store.get("chat", max_idle=None) is None
        store.touch("chat", "reference")
        store.release("chat", "nobody")
        store.end("chat")
        assert store.save("chat", "nobody", "sesh_1") is None
        assert store.get("chat", max_idle=None) is None
        assert store.get("chat", max_idle=LONG) is None

    def test_what_is_saved_is_kept(self, store: ConversationStore) -> None:
        """A created session is that of the conversation from then on; no claim succeeds."""
        assert _ids(self.create(store, "chat", "sesh_1")) == ("sesh_1", None)
        for max_idle in (None, LONG):
            assert _ids(store.get("chat", max_idle=max_idle)) == ("sesh_1", None)
            assert not store.claim("chat", "another", lease=LEASE, max_idle=max_idle)
        assert store.save("chat", "another", "sesh_2") is None
        assert _ids(store.get("chat", max_idle=None)) == ("sesh_1", None)

    def test_keys_are_literal(self, store: ConversationStore) -> None:
        """Each key is a separate conversation, also one that looks like a pattern or a path."""
        for number, key in enumerate(KEYS):
            assert store.get(key, max_idle=None) is None, key
            assert self.create(store, key, f"sesh_{number}"), key
        for number, key in enumerate(KEYS):
            assert _ids(store.get(key, max_idle=None)) == (f"sesh_{number}", None), key
        store.end(KEYS[1])
        assert [key for key in KEYS if store.get(key, max_idle=None) is None] == [KEYS[1]]

    def test_one_claim_at_a_time(self, store: ConversationStore) -> None:
        """While one claimant creates, no other can claim; only the claimant can end its claim."""
        assert store.claim("chat", "first", lease=LEASE, max_idle=None)
        assert not store.claim("chat", "second", lease=LEASE, max_idle=None)
        store.release("chat", "second")
        assert not store.claim("chat", "second", lease=LEASE, max_idle=None)
        store.release("chat", "first")
        assert store.claim("chat", "second", lease=LEASE, max_idle=None)
        assert store.save("chat", "first", "sesh_1") is None
        assert _ids(store.save("chat", "second", "sesh_2")) == ("sesh_2", None)

    def test_one_claims_of_many(self, store: ConversationStore) -> None:
        """Of many claimants at the same moment, exactly one gets the claim."""
        start = threading.Barrier(THREADS)
        claims: list[Claim | None] = []

        def claim(number: int) -> None:
            start.wait(PATIENCE)
            claims.append(store.claim("chat", str(number), lease=LEASE, max_idle=None))

        threads = [threading.Thread(target=claim, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(claims) == THREADS
        assert claims.count(None) == THREADS - 1

    def test_a_dead_creator_is_replaced(self, store: ConversationStore) -> None:
        """When a lease is over, another claimant takes over, and the first one comes too late."""
        assert store.claim("chat", "dead", lease=MOMENT, max_idle=None)
        _eventually(lambda: store.claim("chat", "second", lease=LEASE, max_idle=None))
        assert store.save("chat", "dead", "sesh_1") is None
        store.release("chat", "dead")
        assert _ids(store.save("chat", "second", "sesh_2")) == ("sesh_2", None)

    def test_an_idle_conversation_is_over(self, store: ConversationStore) -> None:
        """After ``max_idle`` without a use it can be claimed; the next session knows the former ID."""
        self.create(store, "chat", "sesh_1")
        time.sleep(1.5 * MOMENT)
        assert _ids(store.get("chat", max_idle=None)) == ("sesh_1", None)
        assert not store.claim("chat", "second", lease=LEASE, max_idle=LONG)
        assert store.get("chat", max_idle=MOMENT) is None
        assert store.claim("chat", "second", lease=LEASE, max_idle=MOMENT)
        assert _ids(store.save("chat", "second", "sesh_2")) == ("sesh_2", "sesh_1")
        assert _ids(store.get("chat", max_idle=LONG)) == ("sesh_2", "sesh_1")

    def test_use_keeps_it_from_being_idle(self, store: ConversationStore) -> None:
        """Idle time runs from the last use: a ``touch`` of this session, or a ``get``."""
        created = self.create(store, "chat", "sesh_1")
        assert created is not None

        def is_in_use_after_a_touch() -> bool:
            store.touch("chat", created.reference_id)
            return store.get("chat", max_idle=MOMENT) is not None

        time.sleep(1.5 * MOMENT)
        store.touch("chat", "another")
        assert store.get("chat", max_idle=MOMENT) is None
        # Repeatedly, as on a busy machine a moment may pass between the two calls.
        _eventually(is_in_use_after_a_touch)
        time.sleep(2 * MOMENT)
        _eventually(
            lambda: store.get("chat", max_idle=LONG) == store.get("chat", max_idle=2 * MOMENT) is not None
        )
        assert _ids(store.get("chat", max_idle=LONG)) == ("sesh_1", None)

    def test_a_claim_can_be_renewed(self, store: ConversationStore) -> None:
        """A second claim of the same claimant extends its lease, which keeps others out."""
        assert store.claim("chat", "first", lease=MOMENT, max_idle=None)
        assert store.claim("chat", "first", lease=LEASE, max_idle=None)
        time.sleep(1.5 * MOMENT)
        assert not store.claim("chat", "second", lease=LEASE, max_idle=None)
        assert _ids(store.save("chat", "first", "sesh_1")) == ("sesh_1", None)

    def test_an_ended_conversation_is_over(self, store: ConversationStore) -> None:
        """The next session knows the former ID; touching the ended one does not bring it back."""
        created = self.create(store, "chat", "sesh_1")
        assert created is not None
        store.end("chat")
        assert store.get("chat", max_idle=None) is None
        store.touch("chat", created.reference_id)
        assert store.get("chat", max_idle=None) is None
        assert _ids(self.create(store, "chat", "sesh_2")) == ("sesh_2", "sesh_1")
        assert _ids(store.get("chat", max_idle=None)) == ("sesh_2", "sesh_1")
        store.end("chat")
        store.end("chat")
        assert _ids(self.create(store, "chat", "sesh_3")) == ("sesh_3", "sesh_2")

    def test_an_end_voids_a_claim(self, store: ConversationStore) -> None:
        """If a conversation is ended during a creation, the created session does not bring it back."""
        assert store.claim("chat", "first", lease=LEASE, max_idle=None)
        store.end("chat")
        assert store.save("chat", "first", "sesh_1") is None
        assert _ids(self.create(store, "chat", "sesh_2")) == ("sesh_2", None)

    def test_a_conversation_can_be_forgotten(self, store: ConversationStore) -> None:
        """Nothing is left of it: neither the former session nor a claim."""
        self.create(store, "chat", "sesh_1")
        self.create(store, "other", "sesh_2")
        store.forget("chat")
        assert store.get("chat", max_idle=None) is None
        assert store.claim("chat", "first", lease=LEASE, max_idle=None)
        store.forget("chat")
        assert store.save("chat", "first", "sesh_3") is None
        assert _ids(self.create(store, "chat", "sesh_4")) == ("sesh_4", None)
        store.end("chat")
        store.forget("chat")
        assert _ids(self.create(store, "chat", "sesh_5")) == ("sesh_5", None)
        store.forget("never")
        assert _ids(store.get("other", max_idle=None)) == ("sesh_2", None)

    def test_what_is_not_used_is_forgotten(self, store: ConversationStore) -> None:
        """A conversation is forgotten ``forget_after`` seconds after its last use."""
        store.forget_after = 3 * MOMENT
        self.create(store, "old", "sesh_1")
        reference_id = store.reference_id("old", max_idle=None)
        self.create(store, "used", "sesh_2")
        self.create(store, "ended", "sesh_3")
        store.end("ended")
        for _ in range(4):
            time.sleep(MOMENT)
            assert _ids(store.get("used", max_idle=None)) == ("sesh_2", None)
        assert store.get("old", max_idle=None) is None
        assert store.reference_id("old", max_idle=None) != reference_id
        assert _ids(self.create(store, "old", "sesh_4")) in {
            ("sesh_4", None),
            ("sesh_4", "sesh_1"),  # a store may still know the former session
        }

    def test_a_conversation_has_a_reference_id(self, store: ConversationStore) -> None:
        """The reference ID exists before any session, and stays, also if a creation fails."""
        reference_id = store.reference_id("chat", max_idle=None)
        assert re.fullmatch(r"[A-Za-z0-9]{20,64}", reference_id)
        assert store.reference_id("chat", max_idle=LONG) == reference_id
        for claimant in ("first", "second"):
            assert store.claim("chat", claimant, lease=LEASE, max_idle=LONG) == (reference_id, None)
            assert store.reference_id("chat", max_idle=None) == reference_id
            store.release("chat", claimant)
        created = self.create(store, "chat", "sesh_1")
        assert created == store.get("chat", max_idle=None) == ("sesh_1", None, reference_id)
        assert store.reference_id("chat", max_idle=LONG) == reference_id
        claimed = store.claim("claimed", "first", lease=LEASE, max_idle=None)
        assert claimed is not None
        assert store.reference_id("claimed", max_idle=None) == claimed.reference_id
        assert claimed.reference_id != reference_id

    def test_many_that_ask_get_one_reference_id(self, store: ConversationStore) -> None:
        """Many first calls for one conversation, at the same moment, return the same ID."""
        start = threading.Barrier(THREADS)
        reference_ids: list[str] = []

        def ask() -> None:
            start.wait(PATIENCE)
            reference_ids.append(store.reference_id("chat", max_idle=None))

        threads = [threading.Thread(target=ask) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert reference_ids == [reference_ids[0]] * THREADS

    def test_a_reference_id_ends_with_its_conversation(self, store: ConversationStore) -> None:
        """An ended or forgotten conversation gets a new reference ID, with or without a session."""
        seen = [store.reference_id("chat", max_idle=None)]
        for over in (store.end, store.end, store.forget, store.forget):
            over("chat")
            seen.append(store.reference_id("chat", max_idle=None))
            created = self.create(store, "chat", "sesh_1")
            assert created is not None
            assert created.reference_id == seen[-1]
            over("chat")
            seen.append(store.reference_id("chat", max_idle=LONG))
        assert len(seen) == len({*seen})

    def test_a_reference_id_ends_with_idle_time(self, store: ConversationStore) -> None:
        """An idle conversation gets a new reference ID, with or without a session; any use keeps it."""
        seen = [store.reference_id("chat", max_idle=None)]
        time.sleep(1.5 * MOMENT)
        seen.append(store.reference_id("chat", max_idle=MOMENT))
        time.sleep(1.5 * MOMENT)
        claimed = store.claim("chat", "first", lease=LEASE, max_idle=MOMENT)
        assert claimed is not None
        seen.append(claimed.reference_id)
        store.release("chat", "first")
        assert store.reference_id("chat", max_idle=LONG) == claimed.reference_id
        self.create(store, "chat", "sesh_1")
        time.sleep(1.5 * MOMENT)
        seen.append(store.reference_id("chat", max_idle=MOMENT))
        assert store.get("chat", max_idle=None) is None
        assert len(seen) == len({*seen})
        assert self.create(store, "chat", "sesh_2") == ("sesh_2", "sesh_1", seen[-1])

    def test_a_claim_keeps_the_reference_id(self, store: ConversationStore) -> None:
        """A conversation is not idle during the creation of its session, however long that takes."""
        claimed = store.claim("chat", "first", lease=LEASE, max_idle=MOMENT)
        assert claimed is not None
        time.sleep(1.5 * MOMENT)
        assert store.reference_id("chat", max_idle=MOMENT) == claimed.reference_id
        time.sleep(1.5 * MOMENT)
        assert store.claim("chat", "first", lease=LEASE, max_idle=MOMENT) == claimed
        assert store.save("chat", "first", "sesh_1") == ("sesh_1", None, claimed.reference_id)

    def test_namespaces_are_apart(self, store: ConversationStore) -> None:
        """Conversations with different APIs have different keys, and no two pairs share one."""
        pairs = [("http://a/v4", "chat"), ("http://b/v4", "chat"), ("http://a/v4", "http://a/v4#chat")]
        assert len({store.entry_key(base_url, key) for base_url, key in pairs}) == len(pairs)

    def test_closing(self, store: ConversationStore) -> None:
        """An idle store can be closed, also one that was never used."""
        with store:
            pass
