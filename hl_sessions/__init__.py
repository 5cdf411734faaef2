"""Sessions for LLM applications: created lazily, exactly once, and known to all code of their scope."""

from hl_sessions.client.answers import Response
from hl_sessions.client.client import SessionsClient
from hl_sessions.defaults import configure, datapoint, flush, log, with_session
from hl_sessions.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    HLSessionsError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    ServerError,
    ValidationError,
)
from hl_sessions.manager import SessionManager
from hl_sessions.sessions.binding import SessionThreadPoolExecutor, bind, unbound
from hl_sessions.sessions.current import acurrent_session_id, current_session, current_session_id
from hl_sessions.sessions.session import Session

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "ConfigurationError",
    "HLSessionsError",
    "InvalidResponseError",
    "NotFoundError",
    "RateLimitError",
    "Response",
    "ServerError",
    "Session",
    "SessionManager",
    "SessionThreadPoolExecutor",
    "SessionsClient",
    "ValidationError",
    "acurrent_session_id",
    "bind",
    "configure",
    "current_session",
    "current_session_id",
    "datapoint",
    "flush",
    "log",
    "unbound",
    "with_session",
]
