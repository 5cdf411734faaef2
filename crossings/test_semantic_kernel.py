"""Semantic Kernel."""

# /// script
# dependencies = ["semantic-kernel==1.45.0"]
# ///

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from semantic_kernel import Kernel
from semantic_kernel.filters import FilterTypes
from semantic_kernel.functions import kernel_function

from hl_sessions import SessionManager, acurrent_session_id, current_session_id


class Plugin:
    @kernel_function
    def sync_function(self) -> str:
        return str(current_session_id())

    @kernel_function
    async def async_function(self) -> str:
        return str(await acurrent_session_id())


def test_functions_and_filters(manager: SessionManager) -> None:
    seen: list[str | None] = []
    kernel = Kernel()
    kernel.add_plugin(Plugin(), "plugin")

    @kernel.filter(FilterTypes.FUNCTION_INVOCATION)
    async def around(context: Any, next: Callable[[Any], Awaitable[None]]) -> None:  # noqa: A002 - it is called so
        seen.append(await acurrent_session_id())
        await next(context)

    async def run() -> list[str]:
        names = ("sync_function", "async_function")
        return [str(await kernel.invoke(plugin_name="plugin", function_name=name)) for name in names]

    with manager.session() as session:
        assert asyncio.run(run()) == [session.id] * 2
    assert seen == [session.id] * 2
