"""Haystack."""

# /// script
# dependencies = ["haystack-ai==3.4.1"]
# ///

import asyncio

from haystack import Pipeline, component

from hl_sessions import SessionManager, acurrent_session_id, current_session_id
from tests.sessions_api import SessionsAPI


@component
class Reads:
    @component.output_types(seen=str)
    def run(self) -> dict[str, str]:
        return {"seen": str(current_session_id())}


@component
class ReadsAsync:
    @component.output_types(seen=str)
    def run(self) -> dict[str, str]:
        return {"seen": str(current_session_id())}

    @component.output_types(seen=str)
    async def run_async(self) -> dict[str, str]:
        return {"seen": str(await acurrent_session_id())}


def test_components(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    pipeline = Pipeline()
    pipeline.add_component("sync", Reads())
    pipeline.add_component("async", ReadsAsync())
    with manager.session() as session:
        each = {"sync": {"seen": session.id}, "async": {"seen": session.id}}
        assert pipeline.run({}) == each
        assert asyncio.run(pipeline.run_async({})) == each
    assert sessions_api.posts == 1
