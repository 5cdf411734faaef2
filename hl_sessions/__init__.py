"""Sessions for LLM applications: made lazily, exactly once, and known everywhere in their scope."""

from hl_sessions.binding import SessionThreadPoolExecutor, bind
from hl_sessions.client import Response, SessionsClient
from hl_sessions.context import acurrent_session_id, current_session, current_session_id
from hl_sessions.decorator import with_session
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
from hl_sessions.manager import SessionManager, configure
from hl_sessions.session import Session

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
    "with_session",
]
