"""The pytest plugin: the fixture ``hl_sessions``.

Each run of pytest imports this module. It lies outside the package, which takes longer to import.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hl_sessions.testing import FakeSessions


@pytest.fixture
def hl_sessions() -> Iterator[FakeSessions]:
    """The sessions API in memory: the sessions and datapoints of a test, without a network."""
    from hl_sessions.testing import FakeSessions

    with FakeSessions() as fake:
        yield fake


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """List the sessions if ``assert hl_sessions.created == 1`` fails."""
    fake_sessions = sys.modules.get("hl_sessions.testing.fake_sessions")
    if fake_sessions is None:
        return None
    for created in (left, right):
        if isinstance(created, fake_sessions.Created):
            sessions = [str(session) for session in created.sessions]
            return [f"{left} {op} {right}", *(sessions or ["no session was created"])]
    return None
