"""The sessions of the demo and their datapoints, as the API lists them."""

from collections import defaultdict
from typing import Any, Final, TypedDict

from hl_sessions.demo.api import API

PROJECT: Final = "demo"
"""The name of the project of all datapoints of the demo."""

SESSIONS_SHOWN: Final = 20
"""The number of sessions in the list; their datapoints fit into one page of the API."""


class Datapoint(TypedDict):
    """A datapoint, reduced to the fields that the demo shows."""

    id: str
    step: str
    ran_in: str
    output: str


class ListedSession(TypedDict):
    """A session with its ended datapoints, in the order in which they began."""

    id: str
    created_at: str
    datapoints: list[Datapoint]


class SessionList:
    """Reads the list from the API.

    Args:
        api: The API to read from.
    """

    def __init__(self, api: API) -> None:
        self._api = api
        self._project_id: str | None = None

    def read(self) -> list[ListedSession]:
        """Return the newest sessions, the latest one first.

        Raises:
            requests.RequestException: The API cannot be reached, or answers with an error.
        """
        project_id = self._project_id = self._project_id or self._find_project()
        if project_id is None:
            return []
        sessions = self._api.get("/sessions", project_id=project_id, size=SESSIONS_SHOWN)["records"]
        logs = self._api.get("/logs", project_id=project_id, size=100)["records"]
        datapoints_of: dict[str, list[Datapoint]] = defaultdict(list)
        for log in reversed(logs):
            if "output" in log:
                datapoints_of[log.get("session_id", "")].append(_datapoint(log))
        return [
            {
                "id": session["id"],
                "created_at": session["created_at"],
                "datapoints": datapoints_of[session["id"]],
            }
            for session in sessions
        ]

    def _find_project(self) -> str | None:
        """Return the ID of the project, which exists once a datapoint was logged."""
        projects: list[dict[str, str]] = self._api.get("/projects", size=100)["records"]
        return next((project["id"] for project in projects if project["name"] == PROJECT), None)


def _datapoint(log: dict[str, Any]) -> Datapoint:
    return {
        "id": log["id"],
        "step": log.get("source", ""),
        "ran_in": log.get("metadata", {}).get("ran_in", ""),
        "output": log["output"],
    }
