"""Calls of the API, like those of any program with its URL and its key."""

from typing import Any, Final

import requests

from hl_sessions.server.http.access import BASE_PATH

TIMEOUT: Final = 5
"""Seconds to wait for an answer, which comes from this machine."""


class API:
    """The API at a base URL. Its calls block, so they are made in worker threads.

    Args:
        base_url: The URL of the API with its version, such as ``http://127.0.0.1:8642/v4``.
        api_key: Sent as ``X-API-KEY``.
    """

    def __init__(self, base_url: str, api_key: str) -> None:
        self.base_url = base_url
        self._http = requests.Session()
        self._http.headers["X-API-KEY"] = api_key

    @property
    def page_url(self) -> str:
        """The URL of the page of the server, with a slash at its end."""
        return self.base_url.removesuffix(BASE_PATH) + "/"

    def get(self, path: str, **parameters: str | int) -> Any:
        """Return the JSON of an answer.

        Raises:
            requests.RequestException: The API cannot be reached, or answers with an error.
        """
        return self._answer(self._http.get(self.base_url + path, params=parameters, timeout=TIMEOUT))

    def post(self, path: str, body: Any) -> Any:
        """Send JSON, and return the JSON of the answer.

        Raises:
            requests.RequestException: The API cannot be reached, or answers with an error.
        """
        return self._answer(self._http.post(self.base_url + path, json=body, timeout=TIMEOUT))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @staticmethod
    def _answer(response: requests.Response) -> Any:
        response.raise_for_status()
        return response.json()
