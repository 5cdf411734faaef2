"""The bot: three steps, each of which logs a datapoint without a session ID."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from starlette.concurrency import run_in_threadpool

from hl_sessions import datapoint, log
from hl_sessions.demo.texts import Text, find_text, words_of

_BLOCKED: Final = frozenset({"dumb", "hate", "idiot", "kill", "stupid"})

_REFUSAL: Final = (
    "I would rather keep this friendly, so I leave that one without an answer. It was logged anyway:"
    " moderation, retrieval and this reply, under one session."
)
_NOTHING_FOUND: Final = (
    "I only know a few things about hl-sessions: when sessions are created, streaming, threads, outages,"
    " conversations, the server, and getting started. Ask me about one of those."
)


class Bot:
    """Answers messages from the bundled texts, without a network and without a model.

    Args:
        pause: Awaited between two words of a reply, as a model would take its time.
    """

    def __init__(self, pause: Callable[[], Awaitable[object]]) -> None:
        self._pause = pause

    async def reply(self, message: str) -> AsyncIterator[str]:
        """Handle a message, and return the reply to stream."""
        is_allowed = self.moderate(message)
        text = await run_in_threadpool(self.retrieve, message)
        return self.answer(message, _compose(text) if is_allowed else _REFUSAL)

    def moderate(self, message: str) -> bool:
        """Decide whether to answer the message; runs on the event loop, which logging does not block."""
        blocked = words_of(message) & _BLOCKED
        verdict = f"blocked: {', '.join(sorted(blocked))}" if blocked else "allowed"
        log(source="moderation", inputs={"message": message}, output=verdict, metadata=_ran_in("coroutine"))
        return not blocked

    def retrieve(self, message: str) -> Text | None:
        """Find the text for the answer; runs in a worker thread."""
        text = find_text(message)
        found = text.title if text else "nothing found"
        log(source="retrieval", inputs={"message": message}, output=found, metadata=_ran_in("worker thread"))
        return text

    async def answer(self, message: str, reply: str) -> AsyncIterator[str]:
        """Yield the reply word by word, while the response is streamed.

        The datapoint ends with it. If the reader goes away, the datapoint has the words until then.
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
    """Return the metadata that name the kind of code in which a step ran."""
    return {"ran_in": place}


def _compose(text: Text | None) -> str:
    return f"{text.body} (Source: {text.title})" if text else _NOTHING_FOUND
