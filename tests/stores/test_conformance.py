"""Our own stores keep the contract that others can test theirs by."""

import pytest

from hl_sessions.testing import StoreConformance
from tests.stores.conftest import OUTSIDE

# They wait for what has to be idle: one store in a file and one on the network are enough each time.
KINDS = [
    pytest.param(kind, marks=() if kind == "sqlite" else pytest.mark.slow) for kind in ("memory", *OUTSIDE)
]


@pytest.mark.parametrize("store", KINDS, indirect=True)
class TestStores(StoreConformance):
    """Every test of the contract, with every store."""
