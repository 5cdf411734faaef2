"""Our own stores keep the contract that others can test theirs by."""

import pytest

from hl_sessions.testing import StoreConformance
from tests.stores.conftest import OUTSIDE

# They wait for what has to be idle. Of the three that speak the protocol of Redis, one is enough each time.
KINDS = [
    pytest.param(kind, marks=pytest.mark.slow if kind in {"valkey cluster", "old redis"} else ())
    for kind in ("memory", *OUTSIDE)
]


@pytest.mark.parametrize("store", KINDS, indirect=True)
class TestStores(StoreConformance):
    """Every test of the contract, with every store."""
