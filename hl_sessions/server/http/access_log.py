"""The access log: a line of JSON for each request, with nothing in it of what the request holds."""

import os
from datetime import datetime, timezone
from typing import Final

from pydantic_core import to_json
from starlette.types import Scope

from hl_sessions.server.http.exchange import Exchange

# With it, a line is shorter than what several processes may write to one pipe without mixing it up (4 KiB).
_LONGEST_PATH: Final = 1024
_LONGEST_METHOD: Final = 32


class AccessLog:
    """Writes lines, each at once and as a whole.

    Args:
        descriptor: The number of the open file to write to, such as that of the standard output.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, scope: Scope, exchange: Exchange, status: int, seconds: float) -> None:
        """Write the line of a request.

        Args:
            scope: The request, of which method and path are logged; its query may hold what is searched for.
            exchange: What is known of it.
            status: The status of the answer.
            seconds: How long it took.
        """
        line = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "method": scope["method"][:_LONGEST_METHOD],
            # As it was on the wire, percent-encoded: nothing that a terminal would act on.
            "path": scope["raw_path"][:_LONGEST_PATH].decode("ascii", "backslashreplace"),
            "status": status,
            "duration": round(seconds, 6),
            "bytes": exchange.sent,
            "request_id": exchange.request_id,
        }
        if exchange.session_id is not None:
            line["session_id"] = exchange.session_id
        if exchange.key_id is not None:
            line["key_id"] = exchange.key_id
        line["process"] = os.getpid()
        try:
            os.write(self._descriptor, to_json(line) + b"\n")
        except OSError:
            # Whoever read the log has gone, or its disk is full: no reason to answer nobody.
            pass
