"""A real server to log to, and what it has stored."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from hl_sessions import SessionManager
from tests.servers import served


@dataclass
class Stored:
    """Reads what a server has of one project."""

    base_url: str
    project: str

    def get(self, path: str, **query: Any) -> Any:
        if sys.implementation.name != "cpython":
            # The server is in this process, and made for CPython: cursors that nobody has any more hold what
            # they see of the database.
            gc.collect()
        answer = requests.get(self.base_url + path, params=query, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    def datapoints(self) -> list[dict[str, Any]]:
        """Return the datapoints, the oldest first."""
        found: list[dict[str, Any]] = []
        for record in self.get("/projects", filter=self.project, size=100)["records"]:
            page = 1
            while records := self.get("/logs", project_id=record["id"], page=page, size=100)["records"]:
                found += records
                page += 1
        return found[::-1]

    def by_source(self) -> dict[str, dict[str, Any]]:
        """Return the datapoints by what they name as their source, each another one."""
        datapoints = self.datapoints()
        by_source = {datapoint["source"]: datapoint for datapoint in datapoints}
        assert len(by_source) == len(datapoints)
        return by_source

    def sessions(self) -> int:
        """Return in how many sessions the datapoints are."""
        return len({datapoint["session_id"] for datapoint in self.datapoints()})

    def only(self) -> dict[str, Any]:
        """Return the only datapoint."""
        [datapoint] = self.datapoints()
        return datapoint


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("server") / "logs.sqlite3") as url:
        yield url


@pytest.fixture
def project() -> str:
    """The name of a project of the test's own."""
    return os.urandom(8).hex()


@pytest.fixture
def stored(server_url: str, project: str) -> Stored:
    return Stored(server_url, project)


@pytest.fixture
def make_logging_manager(server_url: str, project: str) -> Iterator[Callable[..., SessionManager]]:
    """Makes managers whose datapoints go to the server."""
    managers: list[SessionManager] = []

    def make(**settings: Any) -> SessionManager:
        managers.append(SessionManager(**{"base_url": server_url, "project": project, **settings}))
        return managers[-1]

    yield make
    for manager in managers:
        manager.close()


@pytest.fixture
def logging_manager(make_logging_manager: Callable[..., SessionManager]) -> SessionManager:
    return make_logging_manager()
