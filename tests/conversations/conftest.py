"""Clocks that stand still."""

import pytest

import hl_sessions.availability.outage
import hl_sessions.conversations.in_use
import hl_sessions.conversations.session
import hl_sessions.stores.memory
from tests.waiting import StillClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    clock = StillClock()
    for module in (
        hl_sessions.conversations.in_use,
        hl_sessions.conversations.session,
        hl_sessions.stores.memory,
    ):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def outage_clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    clock = StillClock()
    monkeypatch.setattr(hl_sessions.availability.outage, "time", clock)
    return clock
