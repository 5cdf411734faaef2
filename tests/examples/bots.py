"""The bots of the examples, each driven through its framework by what its cloud would send."""

import json
import runpy
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack
from functools import partialmethod
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from anyio.from_thread import start_blocking_portal
from slack_bolt import BoltRequest
from slack_bolt.async_app import AsyncBoltRequest
from slack_sdk import WebClient
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient
from telegram import Update
from telegram.ext import Application

from hl_sessions.defaults import default_manager
from tests.examples.chat_cloud import ChatCloud, discord_message
from tests.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"

SLACK_TEAM = {"team_id": "T1", "api_app_id": "A1"}


class Bot(ABC):
    """A bot that has just been started.

    Attributes:
        key: what the conversation keys of its platform begin with.
    """

    key: str
    example: str

    def __init__(self, cloud: ChatCloud) -> None:
        self.cloud = cloud
        self.stack = ExitStack()
        self.module = runpy.run_path(str(EXAMPLES / self.example))
        self.start()

    @staticmethod
    @abstractmethod
    def connect(cloud: ChatCloud, monkeypatch: pytest.MonkeyPatch) -> None:
        """Give the framework the URL and the secrets of the cloud, for all bots of this kind."""

    @abstractmethod
    def start(self) -> None:
        """Do what the framework does before the first message."""

    @abstractmethod
    def receive(self, chat: int, text: str) -> None:
        """Hand over a message; it may be answered later."""

    @abstractmethod
    def start_anew(self, chat: int) -> None:
        """Ask for a new conversation, as a user of the platform would, and wait until that is confirmed."""

    def close(self) -> None:
        """Stop, and release all that this process holds."""
        self.stack.close()
        manager = default_manager()
        manager.close()
        manager._store.close()


class AsyncBot(Bot):
    """A bot on an event loop in a thread."""

    def start(self) -> None:
        self.portal = self.stack.enter_context(start_blocking_portal())

    def run(self, function: Any, *args: Any) -> Any:
        return self.portal.call(function, *args)

    def begin(self, function: Any, *args: Any) -> None:
        self.portal.start_task_soon(function, *args)

    def wait_for_confirmation(self, begin: Any, *args: Any) -> None:
        count = len(self.cloud.texts)
        begin(*args)
        wait_until(lambda: "A new conversation begins" in "".join(self.cloud.texts[count:]))


class SlackBot(Bot):
    key = "slack:C"
    example = "slack_bolt_bot.py"

    @staticmethod
    def connect(cloud: ChatCloud, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-1")
        monkeypatch.setenv("SLACK_SIGNING_SECRET", "secret")
        connected = partialmethod(WebClient.__init__, base_url=cloud.url("slack/"))
        monkeypatch.setattr(WebClient, "__init__", connected)

    def start(self) -> None:
        self.stack.callback(self.module["app"].listener_runner.listener_executor.shutdown)

    def receive(self, chat: int, text: str, **event: Any) -> None:
        self.post("application/json", json.dumps(slack_event(chat, text, **event)))

    def start_anew(self, chat: int) -> None:
        command = {"command": "/new", "channel_id": f"C{chat}", "user_id": "U7", "text": "", **SLACK_TEAM}
        confirmation = self.post("application/x-www-form-urlencoded", urlencode(command))
        assert "A new conversation begins" in confirmation

    def post(self, content_type: str, body: str) -> str:
        """Send what Slack would, signed, and give the answer."""
        timestamp = str(int(time.time()))
        signature = SignatureVerifier("secret").generate_signature(timestamp=timestamp, body=body)
        assert signature is not None
        headers: dict[str, Any] = {
            "Content-Type": content_type,
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": signature,
        }
        response = self.module["app"].dispatch(BoltRequest(body=body, headers=headers))
        assert response.status == 200
        answer: str = response.body
        return answer


class SlackAsyncBot(AsyncBot):
    key = "slack:C"
    example = "slack_bolt_async_bot.py"

    @staticmethod
    def connect(cloud: ChatCloud, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-1")
        connected = partialmethod(AsyncWebClient.__init__, base_url=cloud.url("slack/"))
        monkeypatch.setattr(AsyncWebClient, "__init__", connected)

    def receive(self, chat: int, text: str, **event: Any) -> None:
        self.run(self.dispatch, slack_event(chat, text, **event))

    def start_anew(self, chat: int) -> None:
        message = next(post for post in reversed(self.cloud.posted) if post["channel"] == f"C{chat}")
        (button,) = message["blocks"][1]["elements"]
        click = {
            "type": "block_actions",
            "team": {"id": "T1"},
            "user": {"id": "U7"},
            "channel": {"id": f"C{chat}"},
            "message": {"ts": "1.0", "text": message["text"]},
            "actions": [{**button, "block_id": "b", "action_ts": "1.0"}],
            **SLACK_TEAM,
        }
        self.wait_for_confirmation(self.run, self.dispatch, click)

    async def dispatch(self, body: dict[str, Any]) -> None:
        request = AsyncBoltRequest(mode="socket_mode", body=body)
        assert (await self.module["app"].async_dispatch(request)).status == 200


def slack_event(chat: int, text: str, **event: Any) -> dict[str, Any]:
    message = {"type": "message", "channel": f"C{chat}", "user": "U7", "text": text, "ts": "1.0", **event}
    return {"type": "event_callback", "event_id": "Ev1", "event": message, **SLACK_TEAM}


class TelegramBot(AsyncBot):
    key = "telegram:"
    example = "telegram_bot.py"

    @staticmethod
    def connect(cloud: ChatCloud, monkeypatch: pytest.MonkeyPatch) -> None:
        """What there is to give is given to each application when it is built."""

    def start(self) -> None:
        super().start()
        url = self.cloud.url("telegram/bot")
        self.application = Application.builder().token("8:token").base_url(url).build()
        self.module["add_handlers"](self.application)
        self.run(self.application.initialize)
        self.stack.callback(self.run, self.application.shutdown)

    def receive(self, chat: int, text: str) -> None:
        self.begin(self.application.process_update, self.update(chat, text))

    def start_anew(self, chat: int) -> None:
        command = {"type": "bot_command", "offset": 0, "length": 4}
        update = self.update(chat, "/new", entities=[command])
        self.wait_for_confirmation(self.run, self.application.process_update, update)

    def update(self, chat: int, text: str, **message: Any) -> Update:
        message |= {
            "message_id": 1,
            "date": 0,
            "chat": {"id": chat, "type": "private"},
            "from": {"id": 7, "is_bot": False, "first_name": "Ann"},
            "text": text,
        }
        update = Update.de_json({"update_id": 1, "message": message}, self.application.bot)
        assert update is not None
        return update


class DiscordBot(AsyncBot):
    key = "discord:"
    example = "discord_bot.py"

    @staticmethod
    def connect(cloud: ChatCloud, monkeypatch: pytest.MonkeyPatch) -> None:
        import discord  # only now: on Python 3.11 and 3.12 it warns, which its tests allow

        monkeypatch.setattr(discord.http.Route, "BASE", cloud.url("discord"))

    def start(self) -> None:
        super().start()
        self.stack.callback(self.run, self.module["bot"].close)
        self.run(self.module["bot"].login, "token")

    def receive(self, chat: int, text: str) -> None:
        self.run(self.dispatch, discord_message(str(chat), text))

    def start_anew(self, chat: int) -> None:
        self.wait_for_confirmation(self.receive, chat, "!new")

    async def dispatch(self, message: dict[str, Any]) -> None:
        self.module["bot"]._connection.parse_message_create(message)
