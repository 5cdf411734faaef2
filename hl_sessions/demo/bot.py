"""The bot: three steps, each of which logs a datapoint, and none of which knows a session ID."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from starlette.concurrency import run_in_threadpool

from hl_sessions import datapoint, log
from hl_sessions.demo.texts import Text, find_text, words_of

_BLOCKED: Final = frozenset({"dumb", "hate", "idiot", "kill", "stupid"})

_REFUSAL: Final = (
    "I would rather keep this friendly, so I leave that one without an answer. It was logged all the same:"
    " moderation, retrieval and this reply, under one session."
)
_NOTHING_FOUND: Final = (
    "I only know a few things about hl-sessions: when sessions are created, streaming, threads, outages,"
    " conversations, the server, and getting started. Ask me about one of those."
)


class Bot:
    """Answers messages from the bundled texts, without a network and without a model.

    Args:
        pause: Waited for between two words of a reply, as a model would take its time.
    """

    def __init__(self, pause: Callable[[], Awaitable[object]]) -> None:
        self._pause = pause

    async def reply(self, message: str) -> AsyncIterator[str]:
        """Look at the message, and give the reply to stream."""
        is_allowed = self.moderate(message)
        text = await run_in_threadpool(self.retrieve, message)
        return self.answer(message, _compose(text) if is_allowed else _REFUSAL)

    def moderate(self, message: str) -> bool:
        """Tell whether the message is to be answered; runs on the event loop, which no logging holds up."""
        blocked = words_of(message) & _BLOCKED
        verdict = f"blocked: {', '.join(sorted(blocked))}" if blocked else "allowed"
        log(source="moderation", inputs={"message": message}, output=verdict, metadata=_ran_in("coroutine"))
        return not blocked

    def retrieve(self, message: str) -> Text | None:
        """Find the text to answer from; runs in a worker thread."""
        text = find_text(message)
        found = text.title if text else "nothing found"
        log(source="retrieval", inputs={"message": message}, output=found, metadata=_ran_in("worker thread"))
        return text

    async def answer(self, message: str, reply: str) -> AsyncIterator[str]:
        """Say the reply word by word; runs while the response is streamed.

        The datapoint ends with it. Should the reader go away, it has what was said until then.
        """
        metadata = _ran_in("response stream")
        with datapoint(source="answer", inputs={"message": message}, metadata=metadata) as answer:
            for number, word in enumerate(reply.split(" ")):
                if number:
                    await self._pause()
                chunk = f" {word}" if number else word
                answer.add_output(chunk)
                yield chunk


def _ran_in(place: str) -> dict[str, str]:
    """Return the metadata that tell the reader of the log in which kind of code a step ran."""
    return {"ran_in": place}


def _compose(text: Text | None) -> str:
    return f"{text.body} (Source: {text.title})" if text else _NOTHING_FOUND
