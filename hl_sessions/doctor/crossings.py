"""A table of the libraries that lose the session, found by running them."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["CROSSINGS", "Crossing"]

AGENTS: Final = "docs/agents.md"
CHAT_PAGES: Final = "docs/chat-pages.md"
JOBS: Final = "docs/jobs.md"
WEB: Final = "docs/web-others.md"
GUIDE: Final = "docs/guide.md"


class Crossing(NamedTuple):
    """A place in a library where the session is lost, or is that of another request.

    Attributes:
        distribution: the name of the installed package.
        module: the module that a program loads before this can happen.
        happens: the effect on the session.
        remedy: the way out.
        page: the page of the documentation about it.
        first: the first major version concerned.
        last: the last one, ``None`` if it is the newest.
        mended_by: the integration that solves this when it is loaded; empty if there is none.
        is_foreign: whether the session is that of another request.
    """

    distribution: str
    module: str
    happens: str
    remedy: str
    page: str
    first: int = 0
    last: int | None = None
    mended_by: str = ""
    is_foreign: bool = False

    def concerns(self, version: str) -> bool:
        """Whether it happens in this version of the library."""
        number = version.partition(".")[0]
        major = int(number) if number.isdecimal() else self.first
        return self.first <= major and (self.last is None or major <= self.last)


def _queue(distribution: str, integration: str = "") -> Crossing:
    name = integration or distribution
    return Crossing(
        distribution,
        name,
        "a job does not have the session of its sender",
        f"use hl_sessions.integrations.{name}",
        JOBS,
        mended_by=name,
    )


CROSSINGS: Final = (
    # Libraries in which the session is that of another request.
    Crossing(
        "mcp",
        "mcp.server",
        "over SSE and stateful HTTP a server has one session for all calls of a connection",
        "hl_sessions.integrations.mcp.connect(server), stateless_http=True, or mcp 2",
        AGENTS,
        last=1,
        mended_by="mcp",
        is_foreign=True,
    ),
    Crossing(
        "fastmcp",
        "fastmcp",
        "over SSE and stateful HTTP a server has one session for all calls of a connection",
        "hl_sessions.integrations.mcp.connect(server), stateless_http=True, or fastmcp 4",
        AGENTS,
        first=2,
        last=3,
        mended_by="mcp",
        is_foreign=True,
    ),
    Crossing(
        "gradio",
        "gradio",
        "after launch() with the middleware all users share one session; mounted, functions have none",
        "hl_sessions.integrations.gradio.connect(blocks)",
        CHAT_PAGES,
        mended_by="gradio",
        is_foreign=True,
    ),
    Crossing(
        "autogen-core",
        "autogen_core",
        "handlers have no session, or that of the scope in which runtime.start() was called",
        "start the runtime outside every scope, and send the ID along in messages",
        AGENTS,
        is_foreign=True,
    ),
    Crossing(
        "apscheduler",
        "apscheduler.schedulers.asyncio",
        "AsyncIOScheduler: add_job() in a scope gives later jobs that session, for ever",
        "@with_session(new=True) on the jobs, or unbound(scheduler.add_job)(...)",
        JOBS,
        first=3,
        last=3,
        is_foreign=True,
    ),
    Crossing(
        "apscheduler",
        "apscheduler",
        "a scheduler that was started in a scope gives all jobs that session",
        "start it outside of scopes",
        JOBS,
        first=4,
        is_foreign=True,
    ),
    Crossing(
        "shiny",
        "shiny",
        "a reactive value that pages share runs the effects of one in the session of another",
        "@reactive.effect above @bind",
        CHAT_PAGES,
        is_foreign=True,
    ),
    # Libraries in which there is no session.
    Crossing(
        "flask-socketio",
        "engineio.async_drivers.threading",
        "in threading mode event handlers have no session",
        "@with_session(key=lambda data: request.sid) below @socketio.on(...)",
        CHAT_PAGES,
    ),
    Crossing(
        "autogen-agentchat",
        "autogen_agentchat",
        "sync tools have no session",
        "make them async, or bind() them where the agent is made",
        AGENTS,
    ),
    Crossing(
        "litellm",
        "litellm",
        "success callbacks of completion(stream=True) have no session",
        "use acompletion(), whose callbacks have it",
        AGENTS,
    ),
    Crossing(
        "dspy",
        "dspy",
        "Parallel, batch() and Evaluate run modules without the session",
        "bind(module) in each pair; dspy.utils.parallelizer.ThreadPoolExecutor = SessionThreadPoolExecutor",
        AGENTS,
    ),
    Crossing(
        "smolagents",
        "smolagents",
        "the tools of a CodeAgent have no session",
        "CodeAgent(executor=LocalPythonExecutor([], timeout_seconds=None))",
        AGENTS,
    ),
    Crossing(
        "nicegui",
        "nicegui",
        "functions of run.io_bound() have no session",
        "run.io_bound(bind(function))",
        CHAT_PAGES,
    ),
    Crossing(
        "streamlit",
        "streamlit",
        "a script runs in a thread of its own, without the session",
        "@with_session(key=...) on its functions, by an ID in st.session_state",
        CHAT_PAGES,
    ),
    Crossing(
        "asgiref",
        "asgiref.wsgi",
        "WsgiToAsgi never closes a response, so the scope of a WSGI middleware inside of it is not left",
        "put the ASGI middleware around it",
        WEB,
    ),
    Crossing(
        "gevent",
        "gevent",
        "unless monkey.patch_all() came first, each call to the API holds up all greenlets",
        "call gevent.monkey.patch_all() before anything else is imported",
        GUIDE,
    ),
    _queue("celery"),
    _queue("rq"),
    _queue("dramatiq"),
    _queue("taskiq"),
    _queue("arq"),
    _queue("saq"),
    _queue("huey"),
    _queue("procrastinate"),
    _queue("faststream"),
)
