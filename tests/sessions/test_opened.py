"""The observers of opened scopes."""

import pytest

from hl_sessions import Session, SessionManager
from hl_sessions.sessions.opened import observe_scopes, unobserve


def test_an_observer_that_raises_stops_nobody(
    manager: SessionManager, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the application nor the observers after it; what it raises is shown."""
    seen: list[Session] = []

    def fail(_: Session) -> None:
        raise ValueError("of the observer")

    observe_scopes(fail)
    observe_scopes(seen.append)
    try:
        with manager.session() as session:
            assert session.id
    finally:
        unobserve(fail)
        unobserve(seen.append)
    assert seen == [session]
    assert "ValueError: of the observer" in capsys.readouterr().err
    with manager.session():
        pass
    assert seen == [session]
