"""A sessions API that answers at once, without a network."""

import itertools
import threading
from collections.abc import Mapping
from typing import Any

import requests

from hl_sessions import SessionsClient
from hl_sessions.client.answers import CreatedSession, Response
from hl_sessions.client.deadline import Deadline

_numbers = itertools.count(1)
_raw = requests.Response()


class CountingClient(SessionsClient):
    """Creates sessions in this process.

    Attributes:
        created: how many.
    """

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1/v4")
        self.created = 0
        self._lock = threading.Lock()

    def create(self, **_: Any) -> Response[CreatedSession]:
        with self._lock:
            self.created += 1
        body: CreatedSession = {"id": f"sesh_{next(_numbers)}"}
        return Response(body, {}, 201, 0.0, _raw)

    async def update_session(self, named: Mapping[str, str], told: bytes, deadline: Deadline) -> None:
        """Take what is told of a session, such as its end."""
