"""Instructor."""

# /// script
# dependencies = ["instructor==1.17.0"]
# ///

import asyncio
from typing import Any

import instructor
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, model_validator

from hl_sessions import SessionManager, current_session_id
from tests.sessions_api import SessionsAPI


def test_hooks_and_validators(manager: SessionManager, openai_url: str, sessions_api: SessionsAPI) -> None:
    seen: list[str | None] = []

    class Read(BaseModel):
        @model_validator(mode="after")
        def read(self) -> Any:
            seen.append(current_session_id())
            return self

    def on_event(*_: Any, **__: Any) -> None:
        seen.append(current_session_id())

    options: Any = {"model": "gpt", "response_model": Read, "messages": [{"role": "user", "content": "Why?"}]}
    client = instructor.from_openai(OpenAI(base_url=openai_url, api_key="none"))
    async_client = instructor.from_openai(AsyncOpenAI(base_url=openai_url, api_key="none"))
    for each in (client, async_client):
        each.on("completion:kwargs", on_event)
        each.on("completion:response", on_event)
    with manager.session() as session:
        client.chat.completions.create(**options)
        assert len(seen) == 3
        asyncio.run(async_client.chat.completions.create(**options))
    assert seen == [session.id] * 6
    assert sessions_api.posts == 1
