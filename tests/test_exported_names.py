"""The public names."""

import inspect

import hl_sessions
from hl_sessions import errors

DOCUMENTED = {
    "Response",
    "Session",
    "SessionManager",
    "SessionsClient",
    "acurrent_session_id",
    "configure",
    "current_session",
    "current_session_id",
    "with_session",
}


def test_all_is_complete() -> None:
    """All names in the documentation are exported, and the whole error tree."""
    tree = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert "HLSessionsError" in tree
    assert all(issubclass(getattr(errors, name), errors.HLSessionsError) for name in tree)
    assert set(hl_sessions.__all__) >= DOCUMENTED | tree


def test_all_has_nothing_else() -> None:
    """Each exported name exists, is meant for users and has a docstring."""
    for name in hl_sessions.__all__:
        assert not name.startswith("_")
        assert inspect.getdoc(getattr(hl_sessions, name)), name


def test_every_public_name_is_in_all() -> None:
    """A name that can be imported from the package, and is no module, is exported on purpose."""
    names = {name for name, value in vars(hl_sessions).items() if not inspect.ismodule(value)}
    assert {name for name in names if not name.startswith("_")} == set(hl_sessions.__all__)


def test_all_is_sorted_without_repetition() -> None:
    """As ``dir()`` would show them."""
    assert list(hl_sessions.__all__) == sorted(set(hl_sessions.__all__))
