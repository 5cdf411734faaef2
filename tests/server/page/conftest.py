"""A server without keys and one with keys, both with a page, helpers that fill them, and a browser."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import pytest
import requests
from playwright.sync_api import Dialog, Page

from hl_sessions.server.database.database import Database
from hl_sessions.server.page.prices import Price
from hl_sessions.server.records.keys import create_key, list_keys, revoke_key
from hl_sessions.server.run.serving import serving_in_background
from hl_sessions.server.settings import ServerSettings
from tests.chromium import chromium
from tests.servers import served
from tests.waiting import PATIENCE, wait_until

PHONE = {"width": 360, "height": 740}
PRICES = {"large-1": Price(input=2.5, output=10)}


@dataclass
class Reader:
    """Sends datapoints to a server, and reads its pages as a browser without scripts would."""

    url: str
    api_key: str | None = None
    http: requests.Session = field(default_factory=requests.Session)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.http.get(self.url + path, timeout=PATIENCE, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        """Send a form as a browser does from a page of this server."""
        headers = {"Origin": self.url} | options.pop("headers", {})
        return self.http.post(self.url + path, headers=headers, timeout=PATIENCE, **options)

    def read(self, path: str) -> str:
        answer = self.get(path)
        assert answer.ok, answer.status_code
        return answer.text

    def log(self, *datapoints: dict[str, Any], **datapoint: Any) -> Any:
        """Log one datapoint, or several in one call, and return the answer of the API."""
        key = {} if self.api_key is None else {"X-API-KEY": self.api_key}
        answer = requests.post(
            f"{self.url}/v4/logs", json=list(datapoints) or datapoint, headers=key, timeout=30
        )
        assert answer.ok, answer.text
        return answer.json()

    def sign_in(self, **fields: Any) -> requests.Response:
        return self.post("/sign-in", data={"key": self.api_key} | fields, allow_redirects=False)


def url_of(base_url: str) -> str:
    return base_url.removesuffix("/v4")


@pytest.fixture(scope="session")
def open_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = tmp_path_factory.mktemp("page") / "open.sqlite3"
    with served(database) as base_url:
        yield url_of(base_url)


@pytest.fixture(scope="session")
def open_url_on_postgresql(postgresql: Any) -> Iterator[str]:
    with served(postgresql.new_database()) as base_url:
        yield url_of(base_url)


@pytest.fixture
def sqlite_reader(open_url: str) -> Iterator[Reader]:
    """The reader of a server without keys, which other tests use, too."""
    reader = Reader(open_url)
    with reader.http:
        yield reader


@pytest.fixture
def postgresql_reader(open_url_on_postgresql: str) -> Iterator[Reader]:
    reader = Reader(open_url_on_postgresql)
    with reader.http:
        yield reader


@pytest.fixture(
    params=["sqlite_reader", pytest.param("postgresql_reader", marks=pytest.mark.slow)],
    ids=["sqlite", "postgresql"],
)
def reader(request: pytest.FixtureRequest) -> Any:
    """The same on both databases."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def priced_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("page") / "priced.sqlite3", prices=PRICES) as base_url:
        yield url_of(base_url)


@pytest.fixture(scope="session")
def priced_url_on_postgresql(postgresql: Any) -> Iterator[str]:
    with served(postgresql.new_database(), prices=PRICES) as base_url:
        yield url_of(base_url)


@pytest.fixture(params=["priced_url", "priced_url_on_postgresql"], ids=["sqlite", "postgresql"])
def priced_reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    """The reader of a server that has the price of a model, on both databases."""
    reader = Reader(request.getfixturevalue(request.param))
    with reader.http:
        yield reader


@dataclass
class LockedServer:
    """A server with keys, whose database exists before and after it."""

    settings: ServerSettings
    url: str

    def reader_with_the_key_of_the_settings(self) -> Reader:
        reader = Reader(self.url, self.settings.api_key)
        assert reader.sign_in().status_code == HTTPStatus.SEE_OTHER
        return reader

    def reader(self, organisation: str, name: str | None = None) -> tuple[Reader, str]:
        """Create a key of the organisation, and return a reader with it, and the ID of the key."""
        database = Database.open(self.settings.database_url)
        try:
            key = database.write_now(
                lambda connection: create_key(connection, name or organisation, organisation)
            )
            key_id = database.read_now(lambda connection: list_keys(connection)[-1]["id"])
        finally:
            database.close()
        reader = Reader(self.url, key)
        # A running server notices a new key within a moment.
        wait_until(lambda: reader.get("/v4/projects", headers={"X-API-KEY": key}).ok)
        assert reader.sign_in().status_code == HTTPStatus.SEE_OTHER
        return reader, key_id

    def revoke(self, key_id: str) -> None:
        database = Database.open(self.settings.database_url)
        try:
            assert database.write_now(lambda connection: revoke_key(connection, key_id))
        finally:
            database.close()


@pytest.fixture(scope="session")
def locked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LockedServer]:
    database = tmp_path_factory.mktemp("page") / "locked.sqlite3"
    settings = ServerSettings(port=0, database=str(database), api_key="the key of the settings")
    with serving_in_background(settings) as base_url:
        yield LockedServer(settings, url_of(base_url))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Page]]:
    """Opens pages. A refused script, an error in one, or anything else on the console fails the test."""
    complaints: list[str] = []
    contexts = []

    def note(dialog: Dialog) -> None:
        # Whether the reader may be asked before leaving is a matter of each test.
        if dialog.type != "beforeunload":
            complaints.append(dialog.message)

    def open_one(address: str, **options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(1000 * PATIENCE)
        contexts.append(context)
        page: Page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", note)
        page.clock.install()
        page.goto(address)
        return page

    yield open_one
    for context in contexts:
        context.close()
    # Some tests have a server that does not answer, or refuses.
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []
