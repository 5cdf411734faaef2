"""Slows down clients that try keys."""

from dataclasses import dataclass
from ipaddress import ip_address
from time import monotonic
from typing import Final

FREE_FAILURES: Final = 10
"""The number of wrong keys that a peer may send before it has to wait."""

LONGEST_WAIT: Final = 10.0
"""The longest wait between two attempts, in seconds: the holder of a right key may have the same address."""

_FORGOTTEN_AFTER: Final = 600.0
"""Seconds after its last failure from which on a peer counts as new."""

_MOST_PEERS: Final = 10_000
"""The number of peers that are remembered; beyond it, the peer that failed first is forgotten."""

_IPV6_NETWORK: Final = 8
"""The number of bytes of an IPv6 address that are its network, whose addresses all belong to one owner."""


@dataclass
class _Failures:
    number: int
    last_at: float

    def is_forgotten(self) -> bool:
        return monotonic() - self.last_at > _FORGOTTEN_AFTER


class Attempts:
    """Counts the wrong keys of each peer, and delays its next attempt."""

    def __init__(self) -> None:
        self._failures: dict[str | bytes, _Failures] = {}

    def seconds_to_wait(self, host: str) -> float:
        """Return for how many seconds keys of this peer are refused; 0 if it may try now."""
        failures = self._failures.get(_peer(host))
        if failures is None or failures.is_forgotten() or failures.number < FREE_FAILURES:
            return 0.0
        # Doubled with each failure. The exponent is limited, because the number of failures is not.
        wait = min(2.0 ** min(failures.number - FREE_FAILURES, 10), LONGEST_WAIT)
        return max(0.0, failures.last_at + wait - monotonic())

    def failed(self, host: str) -> None:
        """Note that this peer has sent a wrong key."""
        peer = _peer(host)
        before = self._failures.get(peer)
        if before is None and len(self._failures) >= _MOST_PEERS:
            del self._failures[next(iter(self._failures))]
        number = 0 if before is None or before.is_forgotten() else before.number
        self._failures[peer] = _Failures(number + 1, monotonic())


def _peer(host: str) -> str | bytes:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return address.packed if address.version == 4 else address.packed[:_IPV6_NETWORK]  # noqa: PLR2004
