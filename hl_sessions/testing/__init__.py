"""Help for the tests of applications that use this package, and of conversation stores."""

from hl_sessions.testing.fake_sessions import CreatedSession, FakeSessions
from hl_sessions.testing.logged_datapoint import LoggedDatapoint
from hl_sessions.testing.store_conformance import StoreConformance

__all__ = ["CreatedSession", "FakeSessions", "LoggedDatapoint", "StoreConformance"]
