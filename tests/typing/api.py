"""What type checkers make of the public API; checked, never run."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal
from uuid import UUID

from typing_extensions import assert_type

from hl_sessions import (
    APIStatusError,
    HLSessionsError,
    RateLimitError,
    Response,
    Session,
    SessionManager,
    SessionsClient,
    ValidationError,
    acurrent_session_id,
    configure,
    current_session,
    current_session_id,
    with_session,
)
from hl_sessions.client.answers import CreatedSession, SessionPage, SessionProject, SessionRecord
from hl_sessions.stores import ConversationStore, MemoryStore

manager = SessionManager("http://127.0.0.1:8642/v4", "key", idle_timeout=60, on_error="raise", timeout=1.5)
client = SessionsClient("http://127.0.0.1:8642/v4", api_key_prefix="Bearer", timeout=1, retries=0)


async def reading() -> None:
    assert_type(current_session_id(), str | None)
    assert_type(current_session_id(create=False), str | None)
    assert_type(await acurrent_session_id(), str | None)
    assert_type(current_session(), Session | None)
    current_session_id(False)  # type: ignore[call-arg] # noqa: FBT003


async def handle(session: Session) -> None:
    assert_type(session.id, str | None)
    assert_type(await session.aid(), str | None)
    assert_type(session.peek(), str | None)
    assert_type(session.key, str | None)
    assert_type(session.reference_id, str)
    assert_type(session.log_params(), dict[str, str])
    assert_type(await session.alog_params(), dict[str, str])
    session.end()
    session.id = "sesh_1"  # type: ignore[misc]


async def scopes(key: str | int | UUID | None) -> None:
    with manager.session() as session, manager.session(new=True), manager.session(key=key):
        assert_type(session, Session)
    async with manager.session(key="chat") as session:
        assert_type(session, Session)
    manager.session(key=1.5)  # type: ignore[arg-type]
    manager.session("chat")  # type: ignore[call-arg]


# Decorated functions keep their types.


@with_session
def function(a: int, *, b: str = "") -> bool:
    return a == len(b)


@with_session()
def with_parentheses(a: int) -> bool:
    return bool(a)


@with_session(key="chat_id", manager=manager)
async def coroutine(chat_id: int) -> str:
    return str(chat_id)


@with_session(new=True)
def generator(a: int) -> Iterator[int]:
    yield a


@manager.with_session
async def async_generator(a: int) -> AsyncIterator[int]:
    yield a


@manager.with_session(key=lambda update: update["chat"])
def by_callable(update: dict[str, int]) -> None: ...


class Bot:
    @with_session(key="chat_id")
    async def method(self, chat_id: int) -> str:
        return str(chat_id)

    @classmethod
    @with_session
    def class_method(cls, a: int) -> "Bot":
        return cls()

    @staticmethod
    @manager.with_session(new=True)
    def static_method(a: int) -> int:
        return a


class CallableObject:
    async def __call__(self, a: int) -> int:
        return a


async def decorated() -> None:
    assert_type(function(1, b="x"), bool)
    assert_type(with_parentheses(1), bool)
    assert_type(await coroutine(chat_id=1), str)
    assert_type(generator(1), Iterator[int])
    assert_type(async_generator(1), AsyncIterator[int])
    assert_type(await Bot().method(1), str)
    assert_type(Bot.class_method(1), Bot)
    assert_type(Bot.static_method(1), int)
    callable_object = with_session(CallableObject())
    assert_type(callable_object, CallableObject)
    assert_type(await callable_object(1), int)
    taken: Callable[[dict[str, int]], None] = by_callable
    taken({})
    function("1")  # type: ignore[arg-type]
    await coroutine("1")  # type: ignore[arg-type]
    with_session(key=42)  # type: ignore[call-overload]
    with_session(manager)  # a type checker cannot tell what is callable here; it is refused when called


# Managers.


def managers(on_error: Literal["warn", "raise"], store: ConversationStore) -> None:
    assert_type(configure(on_error=on_error, store=store), SessionManager)
    assert_type(configure("http://127.0.0.1:9/v4", "key", prefetch=2, retries=0), SessionManager)
    with SessionManager(client=client, store=MemoryStore(maxsize=10)) as entered:
        assert_type(entered, SessionManager)
    SessionManager(on_error="ignore")  # type: ignore[arg-type]
    configure(on_eror="warn")  # type: ignore[call-arg]
    SessionManager(store={})  # type: ignore[arg-type]


# The client and its bodies.


async def calls() -> None:
    created = client.create(timeout=2)
    assert_type(created, Response[CreatedSession])
    assert_type(created.body["id"], str)
    assert_type(created.status, int)
    assert_type(created.round_trip_time, float)
    assert_type(created.headers["X"], str)
    assert_type(await client.acreate(timeout=(1.0, 2.0)), Response[CreatedSession])
    record = client.get("sesh_1", skip_deserialization=False).body
    assert_type(record, SessionRecord)
    assert_type(record["projects"], list[SessionProject])
    assert_type(record["datapoints_count"], int)
    assert_type(record.get("reference_id"), str | None)
    assert_type(record.get("first_inputs"), dict[str, Any] | None)
    assert_type((await client.aget("sesh_1")).body, SessionRecord)
    page = client.list("pr_1", page=2, size=50).body
    assert_type(page, SessionPage)
    assert_type(page["total"], int)
    assert_type((await client.alist("pr_1")).body["records"], list[SessionRecord])
    for record in client.iter("pr_1", size=10):
        assert_type(record, SessionRecord)
    async for record in client.aiter("pr_1", stream=False):
        assert_type(record, SessionRecord)
    record["unknown"]  # type: ignore[typeddict-item]
    client.create(timeuot=2)  # type: ignore[call-arg]
    client.list("pr_1", 2)  # type: ignore[call-arg]


def errors() -> None:
    try:
        client.create()
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
    except ValidationError as error:
        assert_type(error.detail, list[dict[str, Any]])
    except APIStatusError as error:
        assert_type(error.status, int)
        assert_type(error.reason, str)
        assert_type(error.round_trip_time, float)
    except HLSessionsError:
        pass
