"""A real server, shared by most tests, and a client for it."""

import json
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import requests

from tests.servers import first_lines, served, spawning
from tests.waiting import PATIENCE

VENDOR: dict[str, Any] = json.loads(Path(__file__).with_name("vendor_answers.json").read_text())


@cache
def published_answer(call: str, status: str) -> jsonschema_rs.Validator | None:
    """Return the description of an answer in the vendor's OpenAPI document, if there is one."""
    schema = VENDOR["answers"].get(call, {}).get(status)
    if schema is None:
        return None
    return jsonschema_rs.validator_for({**schema, "components": VENDOR["components"]}, validate_formats=True)


def hold_against_the_published_answers(method: str, path: str, response: requests.Response) -> None:
    """Check that the vendor's SDKs would accept an answer."""
    pattern = re.sub("^(/[a-z]+)/[^/]+$", r"\1/{id}", path.partition("?")[0])
    validator = published_answer(f"{method} {pattern}", str(response.status_code))
    if validator is not None:
        answer = response.json()
        # Changes of lists are our own call: each datapoint is answered like a single one.
        for one in answer if method == "PATCH" and isinstance(answer, list) else [answer]:
            validator.validate(one)


@dataclass
class Client:
    """Calls one server, and checks every answer against the vendor's OpenAPI document."""

    base_url: str
    http: requests.Session = field(default_factory=requests.Session)

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        response = self.http.request(method, self.base_url + path, timeout=PATIENCE, **options)
        hold_against_the_published_answers(method, path, response)
        return response

    def ok(self, method: str, path: str, **options: Any) -> Any:
        response = self(method, path, **options)
        assert response.ok, response.text
        return response.json()

    def new_session(self) -> str:
        session_id: str = self.ok("POST", "/sessions")["id"]
        return session_id

    def log(self, **fields: Any) -> dict[str, str]:
        created: dict[str, str] = self.ok("POST", "/logs", json=fields)
        return created


@pytest.fixture(scope="session")
def sqlite_base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = tmp_path_factory.mktemp("server") / "open.sqlite3"
    with served(database) as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_base_url(postgresql: Any) -> Iterator[str]:
    with served(postgresql.new_database()) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def base_url(request: pytest.FixtureRequest) -> str:
    """The same on both databases. Both servers run until the last test, in any order of the tests."""
    url: str = request.getfixturevalue(f"{request.param}_base_url")
    return url


@pytest.fixture(scope="session")
def api_key() -> str:
    return "a key with spaces, and \\ signs"


@pytest.fixture(scope="session")
def locked_base_url(tmp_path_factory: pytest.TempPathFactory, api_key: str) -> Iterator[str]:
    database = tmp_path_factory.mktemp("server") / "locked.sqlite3"
    with served(database, api_key=api_key) as url:
        yield url


@pytest.fixture
def client(base_url: str) -> Iterator[Client]:
    client = Client(base_url)
    with client.http:
        yield client


@pytest.fixture
def locked_client(locked_base_url: str) -> Iterator[Client]:
    client = Client(locked_base_url)
    with client.http:
        yield client


@pytest.fixture
def unique() -> str:
    """A name that no other test uses."""
    return uuid.uuid4().hex


@dataclass
class Server:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    greeting: str
    greeting_of_page: str

    @property
    def base_url(self) -> str:
        return self.greeting.split()[-1]

    @property
    def page_url(self) -> str:
        return self.greeting_of_page.split()[2]


@contextmanager
def serving() -> Iterator[Callable[..., Server]]:
    with spawning("serve") as start_process:

        def start(directory: Path, *arguments: str, **variables: str) -> Server:
            # The output is not read while the server runs, so the log would fill the pipe.
            environment = {"HL_SESSIONS_ACCESS_LOG": "false", **variables}
            process = start_process("--port", "0", *arguments, directory=directory, **environment)
            return Server(process, *first_lines(process, 2))

        yield start


@pytest.fixture
def spawn() -> Iterator[Callable[..., Server]]:
    """Starts ``hl-sessions serve`` on a free port, and kills it at the end of the test if it still runs."""
    with serving() as start:
        yield start


@pytest.fixture(scope="module")
def spawn_for_all() -> Iterator[Callable[..., Server]]:
    """The same for all tests of a file."""
    with serving() as start:
        yield start
