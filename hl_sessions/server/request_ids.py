"""The ID of a request: the one that a proxy has given it, or a new one."""

import re
import secrets
from typing import Final

from starlette.types import Scope

from hl_sessions.server.exchange import REQUEST_ID_HEADER

_HEADER: Final = REQUEST_ID_HEADER.lower().encode()
# Whatever comes from outside goes into a log and a header.
_SAFE: Final = re.compile(rb"[A-Za-z0-9._~:=+/@-]{1,128}")


def request_id_of(scope: Scope) -> str:
    """Give what the header ``X-Request-ID`` says, if it is 1 to 128 harmless characters, else a new ID."""
    for name, value in scope["headers"]:
        if name == _HEADER:
            given: bytes = value
            return given.decode("ascii") if _SAFE.fullmatch(given) else _new_request_id()
    return _new_request_id()


def _new_request_id() -> str:
    return secrets.token_hex(16)
