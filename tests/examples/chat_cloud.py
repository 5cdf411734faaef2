"""Slack, Telegram and Discord, as far as a bot that answers messages needs them."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.sessions_api import Answer, Request, SessionsAPI

USER = {"id": "7", "username": "ann", "discriminator": "0", "avatar": None, "global_name": None}
BOT_USER = {**USER, "id": "8", "username": "bot", "bot": True}


class ChatCloud(SessionsAPI):
    """The three web APIs on one port, each below a path of its own.

    Attributes:
        posted: the messages of bots, as they arrived.
    """

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[dict[str, Any]] = []
        self.answer = self._answer

    def url(self, path: str) -> str:
        return self.base_url.removesuffix("v4") + path

    @property
    def texts(self) -> list[str]:
        """The messages of the bots."""
        return [message.get("text") or message["content"] for message in self.posted]

    def _answer(self, request: Request) -> Answer:
        service, _, method = urlsplit(request.target).path.strip("/").partition("/")
        return Answer(body=getattr(self, f"_{service}")(method, request.body))

    def _slack(self, method: str, body: bytes) -> dict[str, Any]:
        if method == "auth.test":
            return {"ok": True, "team_id": "T1", "user_id": "U8", "bot_id": "B8"}
        assert method == "chat.postMessage"
        self.posted.append(json.loads(body))
        return {"ok": True, "ts": f"{len(self.posted)}.0"}

    def _telegram(self, method: str, body: bytes) -> dict[str, Any]:
        bot = {"id": 8, "is_bot": True, "first_name": "Bot", "username": "bot"}
        if method.endswith("/getMe"):
            return {"ok": True, "result": bot}
        assert method.endswith("/sendMessage")
        message = dict(parse_qsl(body.decode()))
        self.posted.append(message)
        chat = {"id": int(message["chat_id"]), "type": "private"}
        result = {"message_id": len(self.posted), "date": 0, "chat": chat, "from": bot}
        return {"ok": True, "result": {**result, "text": message["text"]}}

    def _discord(self, method: str, body: bytes) -> dict[str, Any]:
        if method == "users/@me":
            return BOT_USER
        if method == "oauth2/applications/@me":
            return {
                "id": "8",
                "name": "bot",
                "description": "",
                "icon": None,
                "owner": USER,
                "bot_public": False,
                "bot_require_code_grant": False,
                "verify_key": "",
                "flags": 0,
            }
        _, channel, messages = method.split("/")
        assert messages == "messages"
        self.posted.append(json.loads(body))
        return discord_message(channel, self.posted[-1]["content"], BOT_USER)


def discord_message(channel: str, content: str, author: dict[str, Any] = USER) -> dict[str, Any]:
    """A message in a direct channel, as the gateway sends it."""
    return {
        "id": "9",
        "channel_id": channel,
        "author": author,
        "content": content,
        "timestamp": "2025-01-01T00:00:00+00:00",
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "pinned": False,
        "type": 0,
    }
