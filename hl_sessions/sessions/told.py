"""The fields that the application tells of one session: name, user and metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Told"]

_LONGEST_METADATA: Final = 16_384  # bytes as JSON; the limit of the API


class Told:
    """The fields that the application tells of one session, and those that the API still lacks.

    The caller of each method holds the lock of the agreement.

    Attributes:
        is_asked: whether the application was asked for the fields of the session at its creation.
        fields: all fields that were told, those of the creation included.
        version: the number of changes.
        taken: the version that was last taken to be sent.
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
        """Note fields. They replace the former ones; metadata is added to the former metadata.

        Raises:
            ValueError: the metadata is longer than the API accepts.
        """
        if "metadata" in fields:
            metadata = {**self.fields.get("metadata", {}), **fields["metadata"]}
            _check_length(metadata)
            fields = {**fields, "metadata": metadata}
        self.fields = {**self.fields, **fields}
        self._waiting = {**self._waiting, **fields}
        self.version += 1

    def add_at_creation(self, fields: Mapping[str, Any]) -> None:
        """Note the fields of the creation. Those of :meth:`add` take precedence.

        Raises:
            ValueError: as :meth:`add`.
        """
        _check_length(fields.get("metadata", {}))
        self._at_creation = fields
        if self._along >= 0:  # another reader creates the session, or has created it
            self.tell_anew()

    def take_along(self) -> Mapping[str, Any]:
        """Return the fields that the API is told at the creation of the session."""
        self._merge()
        self._along = self.version
        return self.fields

    def note_created(self) -> None:
        """Note that the session was created with the fields of :meth:`take_along`."""
        self.known = self._along
        if self.known == self.version:
            self._waiting = {}

    def tell_anew(self) -> None:
        """Mark all fields as lacking, of a session that was created without them."""
        self._merge()
        self._waiting = self.fields
        self.known = 0

    def take(self) -> Mapping[str, Any]:
        """Return the fields that the API lacks; the caller sends them."""
        waiting, self._waiting = self._waiting, {}
        self.taken = self.version
        return waiting

    def take_again(self, fields: Mapping[str, Any], version: int) -> Mapping[str, Any]:
        """Return the current values of the fields that were just sent, if another thread has sent newer ones.

        The two threads may have sent in the wrong order: the newest values have to come last.
        """
        return {} if self.taken == version else {name: self.fields[name] for name in fields}

    def give_back(self, fields: Mapping[str, Any]) -> None:
        """Take back fields that the API could not be told, as there is no session."""
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
