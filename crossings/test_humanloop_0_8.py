"""The vendor's SDK 0.8, whose API has no sessions."""

# /// script
# dependencies = ["humanloop<0.9,==0.8.38"]
# ///

import pytest


def test_it_is_refused_by_name() -> None:
    with pytest.raises(
        ImportError, match=r"needs humanloop 0\.4 to 0\.7: pip install 'hl-sessions\[humanloop\]'"
    ):
        import hl_sessions.integrations.humanloop  # noqa: F401 - which fails
