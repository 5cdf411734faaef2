"""Errors have a page, too."""

from typing import Any

import pytest

from hl_sessions.server.database.database import Database
from hl_sessions.server.database.errors import DatabaseFullError, DatabaseUnavailableError, ReplacedFileError


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (DatabaseFullError(), 507, "The disk of the database is full."),
        (DatabaseUnavailableError(), 503, "Load the page again in a moment."),
        (ReplacedFileError("SECRET"), 503, "was moved, removed or replaced: put it back"),
        (ArithmeticError("SECRET"), 500, "The reason is in its log."),
    ],
    ids=["full", "away", "replaced", "unexpected"],
)
def test_a_failure_is_told_without_what_it_was_about(
    sqlite_reader: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, told: str
) -> None:
    """The page says what to do. If the database is away, a header says when to come back."""

    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Database, "scan", fail)
    answer = sqlite_reader.get("/projects")
    assert answer.status_code == status
    assert told in answer.text
    assert "SECRET" not in answer.text
    assert ("Retry-After" in answer.headers) is (status == 503)
