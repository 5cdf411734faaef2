"""Our own stores keep the contract that others can test theirs by."""

import pytest

from hl_sessions.testing import StoreConformance
from tests.stores.conftest import OUTSIDE


@pytest.mark.parametrize("store", ["memory", *OUTSIDE], indirect=True)
class TestStores(StoreConformance):
    """Every test of the contract, with every store."""
