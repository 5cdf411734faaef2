"""The pytest plugin: the fixture ``hl_sessions``.

Each run of pytest imports this module, so it is no part of the package, which takes longer to import.
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
    """The sessions API in memory: what a test has created and logged, and no network."""
    from hl_sessions.testing import FakeSessions

    with FakeSessions() as fake:
        yield fake


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say of ``assert hl_sessions.created == 1`` which sessions there are."""
    fake_sessions = sys.modules.get("hl_sessions.testing.fake_sessions")
    if fake_sessions is None:
        return None
    for created in (left, right):
        if isinstance(created, fake_sessions.Created):
            sessions = [str(session) for session in created.sessions]
            return [f"{left} {op} {right}", *(sessions or ["no session was created"])]
    return None
