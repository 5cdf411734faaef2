"""The bots of the examples keep one session per conversation, in the frameworks that they are made for."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from hl_sessions.defaults import default_manager
from tests.examples.bots import Bot, DiscordBot, SlackAsyncBot, SlackBot, TelegramBot
from tests.examples.chat_cloud import ChatCloud
from tests.servers import served
from tests.sessions_api import Answer, Request, SessionsAPI
from tests.waiting import wait_until

pytestmark = [
    # What discord.py uses of Python is deprecated there.
    pytest.mark.filterwarnings("ignore:'audioop' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning"),
]

Start = Callable[[], Bot]
Converse = Callable[[Bot, int, str], str]


class WatchedAPI(SessionsAPI):
    """Passes everything on to the real server, and watches.

    Attributes:
        session_of: the session of each datapoint, by its text, as the server has answered.
        created: the IDs of the sessions that were created, in order.
        is_open: while it is not set, creations wait.
    """

    def __init__(self, server: str) -> None:
        super().__init__()
        self.server = server
        self.session_of: dict[str, str] = {}
        self.created: list[str] = []
        self.is_open = threading.Event()
        self.is_open.set()
        self.answer = self._pass_on

    def _pass_on(self, request: Request) -> Answer:
        creates = request.target.endswith("/sessions")
        if creates:
            assert self.is_open.wait(20)
        headers = {"Content-Type": request.headers.get("Content-Type", "")}
        url = self.server + request.target.removeprefix("/v4")
        response = requests.request(request.method, url, data=request.body, headers=headers, timeout=20)
        answer = response.json()
        if creates:
            self.created.append(answer["id"])
        elif request.method == "POST":
            for datapoint, stored in zip(json.loads(request.body), answer, strict=True):
                self.session_of[datapoint["inputs"]["text"]] = stored["session_id"]
        return Answer(response.status_code, answer)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = str(tmp_path_factory.mktemp("chatbots") / "sessions.sqlite3")
    with served(database) as url:
        yield url


@pytest.fixture
def api(server: str) -> Iterator[WatchedAPI]:
    api = WatchedAPI(server)
    yield api
    api.close()


@pytest.fixture
def cloud() -> Iterator[ChatCloud]:
    cloud = ChatCloud()
    yield cloud
    cloud.close()


@pytest.fixture(params=[SlackBot, SlackAsyncBot, TelegramBot, DiscordBot], ids=lambda bot: bot.example)
def start(
    request: pytest.FixtureRequest,
    api: WatchedAPI,
    cloud: ChatCloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Start]:
    """Starts the example, anew with nothing but the file that the one before has left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HL_SESSIONS_BASE_URL", api.base_url)
    request.param.connect(cloud, monkeypatch)
    with ExitStack() as running:

        def start() -> Bot:
            running.close()
            bot: Bot = request.param(cloud)
            running.callback(bot.close)
            return bot

        yield start


@pytest.fixture
def converse(api: WatchedAPI) -> Converse:
    """Has a bot answer a message, and gives the session of the datapoint that it logged."""

    def converse(bot: Bot, chat: int, text: str) -> str:
        bot.receive(chat, text)
        wait_until(lambda: text in api.session_of and f"You said: {text}" in bot.cloud.texts)
        return api.session_of[text]

    return converse


def test_a_chat_is_a_session(start: Start, converse: Converse, api: WatchedAPI) -> None:
    """Messages of one chat share it, those of another have another, and no more are created."""
    bot = start()
    first, other, second = converse(bot, 1, "a"), converse(bot, 2, "b"), converse(bot, 1, "c")
    assert first == second != other
    assert api.created == [first, other]


def test_a_new_conversation_is_a_new_session(start: Start, converse: Converse, api: WatchedAPI) -> None:
    """It begins with the next message, knows the one before it, and leaves other chats alone."""
    bot = start()
    old, other = converse(bot, 1, "a"), converse(bot, 2, "b")
    bot.start_anew(1)
    assert api.created == [old, other]
    new = converse(bot, 1, "c")
    assert api.created == [old, other, new]
    assert converse(bot, 2, "d") == other
    with default_manager().session(key=f"{bot.key}1") as session:
        assert (session.id, session.previous_id) == (new, old)


def test_a_conversation_survives_a_restart(start: Start, converse: Converse, api: WatchedAPI) -> None:
    """The bot that was started anew goes on with the session, and remembers which conversation was ended."""
    bot = start()
    first, ended = converse(bot, 1, "a"), converse(bot, 2, "b")
    bot.start_anew(2)
    bot = start()
    assert converse(bot, 1, "c") == first
    new = converse(bot, 2, "d")
    assert api.created == [first, ended, new]


def test_simultaneous_messages_share_a_session(start: Start, api: WatchedAPI) -> None:
    """All are answered while the one session for them is being created."""
    bot = start()
    api.is_open.clear()
    texts = {f"message {number}" for number in range(5)}  # as many as Bolt works on at a time
    for text in texts:
        bot.receive(1, text)
    wait_until(lambda: len(bot.cloud.posted) == len(texts))
    api.is_open.set()
    wait_until(lambda: api.session_of.keys() == texts)
    assert set(api.session_of.values()) == set(api.created)
    assert len(api.created) == 1


@pytest.mark.parametrize("start", [DiscordBot], indirect=True, ids=lambda bot: bot.example)
def test_discord_explains_a_decorated_command(start: Start, cloud: ChatCloud) -> None:
    """Its help takes the name, the parameters and the docstring of the function that was decorated."""
    start().receive(1, "!help new")
    wait_until(lambda: cloud.texts)
    assert cloud.texts == ["```\n!new\n\nBegin a new conversation with the next message.\n\n```"]


@pytest.mark.parametrize("start", [SlackBot, SlackAsyncBot], indirect=True, ids=lambda bot: bot.example)
def test_a_thread_in_slack_is_a_conversation_of_its_own(start: Start, api: WatchedAPI) -> None:
    """It has another session than its channel, the replies are in it, and edits are no messages."""
    bot = start()
    assert isinstance(bot, (SlackBot, SlackAsyncBot))
    bot.receive(1, "edited", subtype="message_changed")
    bot.receive(1, "in the channel")
    bot.receive(1, "in a thread", thread_ts="5.0")
    wait_until(lambda: len(api.session_of) == 2)
    assert api.session_of["in the channel"] != api.session_of["in a thread"]
    assert {post["text"]: post.get("thread_ts") for post in bot.cloud.posted} == {
        "You said: in the channel": None,
        "You said: in a thread": "5.0",
    }
