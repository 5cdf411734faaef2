"""What the application tells of one session."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Told"]

_LONGEST_METADATA: Final = 16_384  # bytes as JSON, which the API takes


class Told:
    """What the application tells of one session, and what of it the API still has to be told.

    Whoever uses it holds the lock of the agreement.

    Attributes:
        is_asked: whether the application was asked what it tells of the session when that is created.
        fields: what was told, and what went along with a creation.
        version: how often something was told.
        taken: the version whose changes were taken last, to be sent.
        known: the version that the session was created with; 0: it was not created here.
    """

    __slots__ = ("_along", "_at_creation", "_waiting", "fields", "is_asked", "known", "taken", "version")

    def __init__(self) -> None:
        self.is_asked = False
        self.version = 0
        self.known = 0
        self.fields: Mapping[str, Any] = {}
        self._at_creation: Mapping[str, Any] = {}
        self._waiting: Mapping[str, Any] = {}
        self.taken = 0
        self._along = -1  # the version that was taken along, or none

    def add(self, fields: Mapping[str, Any]) -> None:
        """Note fields, which take the place of what was told before; metadata is added to it.

        Raises:
            ValueError: the metadata is longer than the API takes.
        """
        if "metadata" in fields:
            metadata = {**self.fields.get("metadata", {}), **fields["metadata"]}
            _check_length(metadata)
            fields = {**fields, "metadata": metadata}
        self.fields = {**self.fields, **fields}
        self._waiting = {**self._waiting, **fields}
        self.version += 1

    def add_at_creation(self, fields: Mapping[str, Any]) -> None:
        """Note fields that are told when the session is created, unless others take their place.

        Raises:
            ValueError: as :meth:`add`.
        """
        _check_length(fields.get("metadata", {}))
        self._at_creation = fields
        if self._along >= 0:  # it is being created, or was, by another reader
            self.tell_anew()

    def take_along(self) -> Mapping[str, Any]:
        """Return what the API is told when it creates the session."""
        self._merge()
        self._along = self.version
        return self.fields

    def note_created(self) -> None:
        """Note that the API was told what was taken along."""
        self.known = self._along
        if self.known == self.version:
            self._waiting = {}

    def tell_anew(self) -> None:
        """Have everything told, of a session that was created without it."""
        self._merge()
        self._waiting = self.fields
        self.known = 0

    def take(self) -> Mapping[str, Any]:
        """Return what the API is still to be told, for the caller to see to that."""
        waiting, self._waiting = self._waiting, {}
        self.taken = self.version
        return waiting

    def take_again(self, fields: Mapping[str, Any], version: int) -> Mapping[str, Any]:
        """Return those of the fields that were just seen to, if others may have been seen to before them.

        Two threads may have changed places: the last word has to come last.
        """
        return {} if self.taken == version else {name: self.fields[name] for name in fields}

    def give_back(self, fields: Mapping[str, Any]) -> None:
        """Take back what the API could not be told, as there is no session."""
        self._waiting = {**fields, **self._waiting}

    def _merge(self) -> None:
        at_creation, self._at_creation = self._at_creation, {}
        if at_creation:
            metadata = {**at_creation.get("metadata", {}), **self.fields.get("metadata", {})}
            self.fields = {**at_creation, **self.fields, **({"metadata": metadata} if metadata else {})}
            self.version += 1


def _check_length(metadata: Mapping[str, Any]) -> None:
    length = len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())
    if length > _LONGEST_METADATA:
        raise ValueError(
            f"metadata has {length:,} bytes as JSON, with what was set before, and may have"
            f" {_LONGEST_METADATA:,}: log what is longer as a datapoint"
        )
