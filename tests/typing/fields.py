"""What type checkers make of the fields of a datapoint; checked, never run."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import attrs
import msgspec
import pydantic
from anthropic.types import Message
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from typing_extensions import Unpack

from hl_sessions.datapoints.fields import Fields, check


def log(**fields: Unpack[Fields]) -> None:
    check(fields)


@dataclass
class Dataclass:
    text: str


@attrs.define
class Attrs:
    text: str


class Struct(msgspec.Struct):
    text: str


class Model(pydantic.BaseModel):
    text: str


def objects() -> None:
    log(inputs={"text": "why?"}, metadata=OrderedDict(text="why?"), config=Model(text="why?"))
    log(inputs=Dataclass("why?"), metadata=Attrs("why?"), provider_request=Struct("why?"))
    log(inputs="why?")  # type: ignore[arg-type]


def responses(messages: list[ChatCompletionMessageParam], chat: ChatCompletion, message: Message) -> None:
    log(messages=messages, output=chat)
    log(messages=[{"role": "user", "content": "why?"}], output=message)
    log(messages="why?")  # type: ignore[arg-type]


def values(error: Exception, now: datetime) -> None:
    log(error=error, created_at=now, duration=timedelta(seconds=1), prompt_cost=Decimal("0.1"), judgment=True)
    log(error="wrong", created_at=now.isoformat(), duration=1, feedback={"type": "rating", "value": "good"})
    log(prompt_tokens="5")  # type: ignore[arg-type]
    log(colour="red")  # type: ignore[call-arg]
