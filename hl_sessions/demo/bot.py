"""The bot: three steps, each of which logs a datapoint, and none of which knows a session ID."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import anyio
from starlette.concurrency import run_in_threadpool

from hl_sessions.demo.datapoint_log import DatapointLog
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
        log: Where each step logs what it did.
        pause: Waited for between two words of a reply, as a model would take its time.
    """

    def __init__(self, log: DatapointLog, pause: Callable[[], Awaitable[object]]) -> None:
        self._log = log
        self._pause = pause

    async def reply(self, message: str) -> AsyncIterator[str]:
        """Look at the message, and give the reply to stream."""
        is_allowed = await self.moderate(message)
        text = await run_in_threadpool(self.retrieve, message)
        return self.answer(message, _compose(text) if is_allowed else _REFUSAL)

    async def moderate(self, message: str) -> bool:
        """Tell whether the message is to be answered; runs on the event loop."""
        blocked = words_of(message) & _BLOCKED
        verdict = f"blocked: {', '.join(sorted(blocked))}" if blocked else "allowed"
        await run_in_threadpool(
            self._log, "moderation", ran_in="coroutine", inputs={"message": message}, output=verdict
        )
        return not blocked

    def retrieve(self, message: str) -> Text | None:
        """Find the text to answer from; runs in a worker thread."""
        text = find_text(message)
        found = text.title if text else "nothing found"
        self._log("retrieval", ran_in="worker thread", inputs={"message": message}, output=found)
        return text

    async def answer(self, message: str, reply: str) -> AsyncIterator[str]:
        """Say the reply word by word; runs while the response is streamed, and logs at its end."""
        said = ""
        try:
            for word in reply.split(" "):
                if said:
                    await self._pause()
                chunk = f" {word}" if said else word
                said += chunk
                yield chunk
        finally:
            # Also when the reader has gone away; what was said until then was said.
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(
                    self._log, "answer", ran_in="response stream", inputs={"message": message}, output=said
                )


def _compose(text: Text | None) -> str:
    return f"{text.body} (Source: {text.title})" if text else _NOTHING_FOUND
