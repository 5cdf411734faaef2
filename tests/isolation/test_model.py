"""Scopes in every interleaving of threads, tasks and generators, against a model of what each sees.

More examples by hand: ``HYPOTHESIS_PROFILE=thorough pytest tests/isolation/test_model.py``.

What the model leaves out: a scope that is left before another one that joined it, in the same context or in
a copy of it; scopes left out of order while one has joined another across a scope of a second manager; and
one scope *object* that several contexts are in, left on behalf of one context by another.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import os
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pytest

pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from hl_sessions import (
    Session,
    SessionManager,
    acurrent_session_id,
    current_session,
    current_session_id,
)
from hl_sessions.integrations.wsgi import HLSessionMiddleware
from tests.isolation.conftest import CountingClient
from tests.waiting import PATIENCE

# ---- what must be seen -------------------------------------------------------------------------------


@dataclass(eq=False)
class Conversation:
    """What the handles of one key share until it is ended."""

    id: str | None = None


@dataclass(eq=False)
class Handle:
    """What a scope opens.

    Attributes:
        is_ended: whether it has ended its conversation, which it has no part in any more.
        is_over: whether a handle of the same conversation has: scopes inside do not join.
        left_for: what is current instead, once the scope was left and a context may still hold it.
    """

    manager: int
    key: str | None
    real: Session
    above: tuple[Handle, ...] = ()  # the handles of other managers that it is in, the innermost first
    id: str | None = None
    is_ended: bool = False
    is_over: bool = False
    is_left: bool = False
    left_for: Handle | None = None


Stack = list["Entry"]


@dataclass(eq=False)
class Entry:
    """One scope, one call or one step that was entered, and not left yet.

    Attributes:
        actor: the execution context in which that was.
        before: what was current there.
    """

    handle: Handle
    actor: Actor
    stack: Stack
    before: Handle | None
    opened: bool
    number: int
    scope: Any = None
    is_call: bool = False


Kind = Literal["join", "new", "a", "b"]


def standing(handle: Handle | None) -> Handle | None:
    while handle is not None and handle.is_left:
        handle = handle.left_for
    return handle


def visible(stack: Stack) -> Handle | None:
    """The current session: that of the scope that was entered last and is not left."""
    return standing(stack[-1].handle) if stack else None


def joinable(stack: Stack, manager: int, kind: Kind) -> Handle | None:
    """The surrounding session that a new scope joins, if there is one."""
    innermost = visible(stack)
    if innermost is None or kind == "new":
        return None
    candidates = (handle for handle in (innermost, *innermost.above) if not handle.is_left)
    around = next((handle for handle in candidates if handle.manager == manager), None)
    if around is None or kind == "join":
        return around
    return around if around.key == kind and not around.is_over else None


# ---- the execution contexts --------------------------------------------------------------------------


class Actor:
    """A thread or a task, which does one thing when told, and then waits."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.calls: list[Entry] = []  # of functions whose bodies it is in, the innermost last
        self.scopes: Stack = []  # that it has entered itself, the innermost last

    def begin(self, function: Callable[[], Any]) -> None:
        """Call a function that :meth:`body` was made of, and stay inside."""
        raise NotImplementedError

    def finish(self) -> None:
        """Return from the innermost function."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the thread or task."""
        raise NotImplementedError

    def do(self, action: Callable[[], Any]) -> Any:
        """Return the result of an action done there."""
        raise NotImplementedError


class ThreadActor(Actor):
    is_async = False

    def __init__(self, stack: Stack, context: contextvars.Context) -> None:
        super().__init__(stack)
        self.told: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=context.run, args=(self.body,), daemon=True)
        self.thread.start()

    def body(self) -> None:
        while (action := self.told.get()) is not None:
            try:
                result = action()
            except BaseException as error:  # noqa: BLE001, PERF203 - for the test
                self.done.put((None, error))
            else:
                self.done.put((result, None))

    def begin(self, function: Callable[[], Any]) -> None:
        def call() -> None:
            function()  # goes on in body(), and comes back to here when that is finished

        self.told.put(call)

    def finish(self) -> None:
        self.told.put(None)
        self._result()

    def stop(self) -> None:
        for _ in range(len(self.calls) + 1):
            self.told.put(None)
        self.thread.join(PATIENCE)

    def do(self, action: Callable[[], Any]) -> Any:
        self.told.put(action)
        return self._result()

    def _result(self) -> Any:
        result, error = self.done.get(timeout=PATIENCE)
        if error is not None:
            raise error
        return result


class TaskActor(Actor):
    is_async = True

    def __init__(self, stack: Stack, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(stack)
        self.loop = loop
        self.told: asyncio.Queue[Callable[[], Any] | None] = asyncio.Queue()
        self.done: asyncio.Queue[tuple[Any, BaseException | None]] = asyncio.Queue()
        self.task = loop.create_task(self.body())  # with a copy of the context of the caller

    async def body(self) -> None:
        while (action := await self.told.get()) is not None:
            try:
                result = action()
                if hasattr(result, "__await__"):
                    result = await result
            except BaseException as error:  # noqa: BLE001, PERF203 - for the test
                self.done.put_nowait((None, error))
            else:
                self.done.put_nowait((result, None))

    def begin(self, function: Callable[[], Any]) -> None:
        self.told.put_nowait(function)

    def finish(self) -> None:
        self.told.put_nowait(None)
        self._result()

    def stop(self) -> None:
        for _ in range(len(self.calls) + 1):
            self.told.put_nowait(None)
        self.loop.run_until_complete(asyncio.wait_for(self.task, PATIENCE))

    def do(self, action: Callable[[], Any]) -> Any:
        self.told.put_nowait(action)
        return self._result()

    def _result(self) -> Any:
        result, error = self.loop.run_until_complete(asyncio.wait_for(self.done.get(), PATIENCE))
        if error is not None:
            raise error
        return result


# ---- the generators ----------------------------------------------------------------------------------

Order = Callable[[], Any]  # gives a scope to enter; Leave and Finish are orders, too


def leave() -> None:
    """Leave the scope that the generator is in."""


def finish() -> None:
    """Return from the generator."""


def look() -> None:
    """Only look."""


def sync_body() -> Generator[Session | None, Order, None]:
    order = yield current_session()
    while order is not finish:
        if order in (look, leave):
            order = yield current_session()
            continue
        with order():
            while True:
                order = yield current_session()
                if order in (leave, finish):
                    break


async def async_body() -> AsyncGenerator[Session | None, Order]:
    order = yield current_session()
    while order is not finish:
        if order in (look, leave):
            order = yield current_session()
            continue
        async with order():
            while True:
                await asyncio.sleep(0)
                order = yield current_session()
                if order in (leave, finish):
                    break


@dataclass(eq=False)
class Stream:
    """A generator under way.

    Attributes:
        stack: its own, where it is decorated; otherwise it runs in the stack of the actor that steps it.
        inner: the scope that it is in.
    """

    generator: Any
    is_async: bool
    stack: Stack | None
    is_started: bool = False
    inner: Entry | None = None


class Ignored(Exception):  # noqa: N818 - thrown into generators
    pass


# Not of integers(): those are also drawn from the constants of all modules that are imported by then, and the
# examples are to be the same in every run.
actors_ = st.sampled_from(range(8))
streams_ = st.sampled_from(range(6))
managers_ = st.sampled_from([0, 0, 0, 1])
kinds: st.SearchStrategy[Kind] = st.sampled_from(["join", "join", "new", "a", "b"])


class Machine(RuleBasedStateMachine):
    """Does anything in any order, and looks around everywhere after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clients = [CountingClient(), CountingClient()]
        self.managers = [SessionManager(client=client) for client in self.clients]
        self.shared = {
            (number, kind): self.scope(number, kind) for number in (0, 1) for kind in ("join", "new", "a")
        }
        self.conversations: dict[tuple[int, str], Conversation] = {}
        self.actors: list[Any] = []
        self.streams: list[Stream] = []
        self.handles: list[Handle] = []
        self.entries = itertools.count()
        self.created = 0
        self.is_ending = False

    # -- the model --

    def scope(self, manager: int, kind: Kind) -> Any:
        key = kind if kind in ("a", "b") else None
        return self.managers[manager].session(key=key, new=kind == "new")

    def open(self, stack: Stack, manager: int, kind: Kind, real: Session) -> tuple[Handle, bool]:
        """Return the handle that a scope must have opened, checked against the one that it has."""
        joined = joinable(stack, manager, kind)
        if joined is not None:
            assert real is joined.real
            return joined, False
        assert all(real is not handle.real for handle in self.handles)
        assert real.manager is self.managers[manager]
        key = kind if kind in ("a", "b") else None
        assert real.key == key
        innermost = visible(stack)
        above = () if innermost is None else (innermost, *innermost.above)
        if innermost is not None and innermost.manager == manager:
            above = innermost.above  # hidden by the new one
        handle = Handle(manager, key, real, above)
        self.handles.append(handle)
        return handle, True

    def enter(self, stack: Stack, actor: Actor, manager: int, kind: Kind, real: Session) -> Entry:
        before = visible(stack)
        handle, opened = self.open(stack, manager, kind, real)
        entry = Entry(handle, actor, stack, before, opened, next(self.entries))
        stack.append(entry)
        return entry

    def may_leave(self, entry: Entry, actor: Actor, stack: Stack) -> bool:
        if entry.scope is not None and any(
            other.scope is entry.scope and other.number > entry.number for other in actor.scopes
        ):
            return False
        if entry not in stack and entry.handle.is_left:
            return True

        def after(stack: Stack) -> Stack:
            later = stack[stack.index(entry) + 1 :]
            return [other for other in later if other.is_call or not other.handle.is_left]

        later = after(stack) if entry in stack else after([entry, *stack])
        is_innermost = entry.actor is actor and entry in stack and not later
        joining = [] if is_innermost else [after(other) for other in self.all_stacks() if entry in other]
        if any(standing(other.handle) is entry.handle for other in itertools.chain(later, *joining)):
            return False
        if not is_innermost and not self.is_ending and self.joins_across_managers():
            return False
        return entry.opened or is_innermost or entry.before is entry.handle

    def joins_across_managers(self) -> bool:
        """Whether some scope has joined one around a scope of the other manager."""
        entries = itertools.chain.from_iterable(self.all_stacks())
        return any(not entry.opened and entry.before is not entry.handle for entry in entries)

    def all_stacks(self) -> Iterator[Stack]:
        yield from (actor.stack for actor in self.actors)
        yield from (stream.stack for stream in self.streams if stream.stack is not None)

    def leave(self, entry: Entry, actor: Actor, stack: Stack) -> None:
        later = stack[stack.index(entry) + 1 :] if entry in stack else []
        is_out_of_sight = all(other.handle.is_left and not other.is_call for other in later)
        is_in_order = entry.actor is actor and entry in stack and is_out_of_sight
        if not entry.opened and entry in entry.stack:
            entry.stack.remove(entry)
        if entry in stack:
            if is_out_of_sight:
                del stack[stack.index(entry) :]
                while stack and stack[-1].handle.is_left and not stack[-1].is_call:
                    stack.pop()
            elif not entry.opened:
                stack.remove(entry)
        if entry.opened and not is_in_order:
            # What was entered may be anywhere, so it is left everywhere.
            entry.handle.left_for = standing(entry.before)
            entry.handle.is_left = True

    def read(self, handle: Handle, real_id: str | None) -> None:
        """Check an ID that was read, and which read makes a session."""
        if handle.id is None and handle.key is not None and not handle.is_ended:
            conversation = self.conversations.setdefault((handle.manager, handle.key), Conversation())
            if conversation.id is None:
                self.created += 1
                conversation.id = real_id
            handle.id = conversation.id
        elif handle.id is None:
            self.created += 1
            handle.id = real_id
        assert real_id == handle.id is not None
        assert self.created == sum(client.created for client in self.clients)
        sharing = {(other.manager, other.key) for other in self.handles if other.id == real_id}
        assert sharing == {(handle.manager, handle.key)}
        if handle.key is None:
            assert sum(other.id == real_id for other in self.handles) == 1

    # -- what happens --

    def actor(self, number: int) -> Any:
        return self.actors[number % len(self.actors)]

    @initialize()
    def begin(self) -> None:
        self.actors.append(ThreadActor([], contextvars.Context()))
        self.actors.append(contextvars.Context().run(TaskActor, [], self.loop))
        self.streams.append(Stream(sync_body(), is_async=False, stack=None))
        self.streams.append(Stream(async_body(), is_async=True, stack=None))
        self.make_stream(0, 0, "join", is_async=False)
        self.make_stream(0, 0, "join", is_async=True)

    @rule(number=actors_, how=st.sampled_from(["task", "thread", "thread with a copy"]))
    def spawn(self, number: int, how: str) -> None:
        if len(self.actors) >= 6:
            return
        parent = self.actor(number)
        if how == "thread":
            # Where threads inherit the context, the empty one is asked for.
            self.actors.append(parent.do(lambda: ThreadActor([], contextvars.Context())))
        elif how == "thread with a copy":
            copied = list(parent.stack)
            self.actors.append(parent.do(lambda: ThreadActor(copied, contextvars.copy_context())))
        elif parent.is_async:
            copied = list(parent.stack)
            self.actors.append(parent.do(lambda: TaskActor(copied, self.loop)))

    @rule(number=actors_, manager=managers_, kind=kinds, as_async=st.booleans(), shared=st.booleans())
    def enter_scope(self, number: int, manager: int, kind: Kind, *, as_async: bool, shared: bool) -> None:
        actor = self.actor(number)
        scope = self.shared.get((manager, kind)) if shared else None
        is_shared = scope is not None
        scope = scope or self.scope(manager, kind)
        real = actor.do(scope.__aenter__ if actor.is_async and as_async else scope.__enter__)
        entry = self.enter(actor.stack, actor, manager, kind, real)
        entry.scope = scope
        assert is_shared or scope not in self.shared.values()
        actor.scopes.append(entry)

    @precondition(lambda self: any(actor.scopes for actor in self.actors))
    @rule(number=actors_, as_async=st.booleans())
    def leave_scope_of_actor(self, number: int, *, as_async: bool) -> None:
        within = [n for n, actor in enumerate(self.actors) if actor.scopes]
        self.leave_scope(within[number % len(within)], as_async=as_async)

    def leave_scope(self, number: int, *, as_async: bool) -> None:
        actor = self.actor(number)
        first = actor.calls[-1].number if actor.calls else -1
        if not actor.scopes or actor.scopes[-1].number < first:
            return
        entry = actor.scopes[-1]
        if not self.may_leave(entry, actor, actor.stack):
            return
        actor.scopes.pop()
        if actor.is_async and as_async:
            actor.do(lambda: entry.scope.__aexit__(None, None, None))
        else:
            actor.do(lambda: entry.scope.__exit__(None, None, None))
        self.leave(entry, actor, actor.stack)

    @rule(number=actors_, manager=managers_, kind=kinds)
    def call_decorated(self, number: int, manager: int, kind: Kind) -> None:
        """Call a function that is decorated with ``with_session``, and stay inside."""
        actor = self.actor(number)
        actor.begin(self.decorate(manager, kind, actor.body))
        real = actor.do(current_session)
        entry = self.enter(actor.stack, actor, manager, kind, real)
        self.called(actor, entry)

    @precondition(lambda self: self.handles)
    @rule(number=actors_, which=streams_)
    def call_bound(self, number: int, which: int) -> None:
        """Call a function that is bound to a session of any context, and stay inside."""
        actor = self.actor(number)
        handle = self.handles[which % len(self.handles)]
        before = visible(actor.stack)
        actor.begin(handle.real.bind(actor.body))
        entry = Entry(handle, actor, actor.stack, before, opened=False, number=next(self.entries))
        actor.stack.append(entry)
        self.called(actor, entry)

    def called(self, actor: Actor, entry: Entry) -> None:
        actor.calls.append(entry)
        entry.is_call = True
        # It runs in what surrounds it, unless a scope around it was left elsewhere: then it sets what is
        # current, and its end resets that.
        if entry.handle is entry.before and actor.stack[-2].handle is entry.handle:
            actor.stack.pop()

    @precondition(lambda self: any(actor.calls for actor in self.actors))
    @rule(number=actors_)
    def return_from_call_of_actor(self, number: int) -> None:
        within = [n for n, actor in enumerate(self.actors) if actor.calls]
        self.return_from_call(within[number % len(within)])

    def return_from_call(self, number: int) -> None:
        actor = self.actor(number)
        while actor.scopes and actor.scopes[-1].number > actor.calls[-1].number:
            if not self.may_leave(actor.scopes[-1], actor, actor.stack):
                return
            self.leave_scope(number, as_async=False)
        actor.finish()
        entry = actor.calls.pop()
        if entry in actor.stack:
            del actor.stack[actor.stack.index(entry) :]  # what was entered inside, too, is out of sight

    def decorate(self, manager: int, kind: Kind, function: Any) -> Any:
        if kind == "join":
            return self.managers[manager].with_session(function)
        if kind == "new":
            return self.managers[manager].with_session(new=True)(function)
        return self.managers[manager].with_session(key=lambda: kind)(function)

    @rule(
        number=actors_,
        manager=managers_,
        kind=st.one_of(st.none(), kinds),
        is_async=st.booleans(),
    )
    def make_stream(self, number: int, manager: int, kind: Kind | None, *, is_async: bool) -> None:
        """Make a generator, decorated or not; the session of a decorated one is that of its call."""
        actor = self.actor(number)
        body: Any = async_body if is_async else sync_body
        if kind is None:
            self.streams.append(Stream(body(), is_async, None))
            return
        real: list[Session | None] = []

        def function() -> Any:
            real.append(current_session())
            return body()

        # A generator function has nothing to look at when it is called: the session is seen in its steps.
        stream = Stream(actor.do(self.decorate(manager, kind, function)), is_async, [])
        assert stream.stack is not None
        entry = self.enter(list(actor.stack), actor, manager, kind, real[0])  # type: ignore[arg-type]
        entry.is_call = True
        stream.stack.append(entry)
        self.streams.append(stream)

    def step(self, actor: Actor, stream: Stream, order: Order) -> Session | None:
        generator = stream.generator
        if not stream.is_started:
            stream.is_started = True
            value = actor.do(generator.__anext__ if stream.is_async else lambda: next(generator))
        else:
            value = actor.do(lambda: (generator.asend if stream.is_async else generator.send)(order))
        assert value is None or isinstance(value, Session)
        return value

    def pick(self, number: int, which: int, streams: list[Stream]) -> tuple[Any, Stream, Stack]:
        """Return a generator, the actor that steps it, and the stack that its body runs in."""
        stream = streams[which % len(streams)]
        actors = [actor for actor in self.actors if actor.is_async or not stream.is_async]
        actor = actors[number % len(actors)]
        return actor, stream, actor.stack if stream.stack is None else stream.stack

    @precondition(lambda self: self.streams)
    @rule(number=actors_, which=streams_)
    def step_stream(self, number: int, which: int) -> None:
        actor, stream, stack = self.pick(number, which, self.streams)
        self.check_seen(stack, self.step(actor, stream, look))

    @precondition(lambda self: any(stream.inner is None for stream in self.streams))
    @rule(number=actors_, which=streams_, manager=managers_, kind=kinds)
    def enter_in_stream(self, number: int, which: int, manager: int, kind: Kind) -> None:
        streams = [stream for stream in self.streams if stream.inner is None]
        actor, stream, stack = self.pick(number, which, streams)
        if not stream.is_started:
            self.step(actor, stream, look)
        real = self.step(actor, stream, lambda: self.scope(manager, kind))
        assert real is not None
        stream.inner = self.enter(stack, actor, manager, kind, real)

    @precondition(lambda self: any(stream.inner is not None for stream in self.streams))
    @rule(number=actors_, which=streams_)
    def leave_in_stream(self, number: int, which: int) -> None:
        streams = [stream for stream in self.streams if stream.inner is not None]
        actor, stream, stack = self.pick(number, which, streams)
        assert stream.inner is not None
        if not self.may_leave(stream.inner, actor, stack):
            return
        seen = self.step(actor, stream, leave)
        self.leave(stream.inner, actor, stack)
        stream.inner = None
        self.check_seen(stack, seen)

    @precondition(lambda self: self.streams)
    @rule(number=actors_, which=streams_, how=st.sampled_from(["finish", "close", "throw"]))
    def end_stream(self, number: int, which: int, how: str) -> None:
        actor, stream, stack = self.pick(number, which, self.streams)
        if stream.inner is None or self.may_leave(stream.inner, actor, stack):
            self.end(actor, stream, stack, how)

    def end(self, actor: Any, stream: Stream, stack: Stack, how: str) -> None:
        generator = stream.generator
        if how == "close":
            actor.do(generator.aclose if stream.is_async else generator.close)
        elif how == "throw":
            with suppress(Ignored):
                actor.do(lambda: (generator.athrow if stream.is_async else generator.throw)(Ignored()))
        else:
            if not stream.is_started:
                self.step(actor, stream, look)
            with suppress(StopAsyncIteration):
                actor.do(lambda: self.run_out(stream))
        if stream.inner is not None:
            self.leave(stream.inner, actor, stack)
        self.streams.remove(stream)

    @staticmethod
    def run_out(stream: Stream) -> Any:
        if stream.is_async:
            return stream.generator.asend(finish)
        with suppress(StopIteration):
            stream.generator.send(finish)
        return None

    @rule(number=actors_, as_async=st.booleans())
    def read_current(self, number: int, *, as_async: bool) -> None:
        actor = self.actor(number)
        handle = visible(actor.stack)
        read: Any = acurrent_session_id if actor.is_async and as_async else current_session_id
        real_id = actor.do(read)
        if handle is None:
            assert real_id is None
        else:
            self.read(handle, real_id)

    @rule(number=actors_)
    def end_conversation(self, number: int) -> None:
        actor = self.actor(number)
        handle = visible(actor.stack)
        if handle is None:
            return
        actor.do(handle.real.end)
        if handle.key is not None:
            ended = self.conversations.pop((handle.manager, handle.key), None)
            if handle.id is None and not handle.is_ended and ended is not None:
                handle.id = ended.id
            handle.is_ended = True
            for other in self.handles:
                if (other.manager, other.key) == (handle.manager, handle.key):
                    other.is_over = True

    # -- what must hold --

    @staticmethod
    def check_seen(stack: Stack, seen: Session | None) -> None:
        handle = visible(stack)
        assert seen is (None if handle is None else handle.real)

    def check_all(self) -> None:
        assert current_session() is None
        for actor in self.actors:
            self.check_seen(actor.stack, actor.do(current_session))

    def check_invariants(self, *args: Any, **kwargs: Any) -> None:
        super().check_invariants(*args, **kwargs)
        self.check_all()

    def teardown(self) -> None:
        try:
            self.leave_everything()
        finally:
            for actor in self.actors:
                actor.stop()
            self.loop.close()
            for manager in self.managers:
                manager.close()

    def leave_everything(self) -> None:
        """Leave what was entered last first, each where it was entered; then nothing is current."""
        inherited = {actor: [e for e in actor.stack if e.actor is not actor] for actor in self.actors}

        self.is_ending = True

        def count() -> int:
            return len(self.streams) + sum(len(actor.scopes) + len(actor.calls) for actor in self.actors)

        while before := count():
            max(self.open_ends(), key=lambda open_end: open_end[0])[1]()
            assert count() < before, list(self.open_ends())
            self.check_all()
        for actor in self.actors:
            assert all(entry.handle.is_left for entry in actor.stack if entry.actor is actor)
            if not inherited[actor]:
                assert actor.do(current_session) is None

    def open_ends(self) -> Iterator[tuple[int, Callable[[], None]]]:
        for number, actor in enumerate(self.actors):
            if actor.scopes:
                yield actor.scopes[-1].number, partial(self.leave_scope, number, as_async=False)
            if actor.calls:
                yield actor.calls[-1].number, partial(self.return_from_call, number)
        for stream in self.streams:
            if stream.inner is not None:
                actor = stream.inner.actor
            else:
                actor = next(actor for actor in self.actors if actor.is_async)
            stack = actor.stack if stream.stack is None else stream.stack
            # What the model leaves out is left when nothing else is left.
            number = -1
            if stream.inner is not None and self.may_leave(stream.inner, actor, stack):
                number = stream.inner.number
            yield number, partial(self.end, actor, stream, stack, "close")


COMMON = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile(
    "default",  # no shrinking: what failed is said at once
    COMMON,
    derandomize=True,
    phases=[Phase.generate],
    max_examples=300,
    stateful_step_count=50,
)
settings.register_profile("thorough", COMMON, max_examples=20_000, stateful_step_count=60)

TestModel = pytest.mark.slow(Machine.TestCase)
TestModel.settings = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
TestModel.__doc__ = (
    "In every interleaving each context sees the session that the model says, in the end none."
)


# ---- what it has found, in short ---------------------------------------------------------------------


@pytest.fixture
def manager() -> Iterator[SessionManager]:
    with SessionManager(client=CountingClient()) as manager:
        yield manager


def stream(manager: SessionManager, **options: Any) -> Iterator[Session | None]:
    with manager.session(**options):
        yield current_session()
        yield current_session()


class TestScopeObject:
    def test_entered_by_a_task_of_its_own(self, manager: SessionManager) -> None:
        """A parent task can leave a scope object while a child task is still in it."""
        scope = manager.session()

        async def child(may_end: asyncio.Event) -> None:
            with scope:
                await may_end.wait()

        async def parent() -> None:
            may_end = asyncio.Event()
            with scope:
                task = asyncio.create_task(child(may_end))
                await asyncio.sleep(0)
            assert current_session() is None
            may_end.set()
            await task

        asyncio.run(parent())

    def test_left_out_of_order(self, manager: SessionManager) -> None:
        """One that two contexts are in, and that one of them leaves out of order, stays in the other."""
        scope = manager.session(new=True)
        other = contextvars.Context()
        here = scope.__enter__()
        there = other.run(scope.__enter__)
        later = stream(manager, new=True)
        next(later)
        scope.__exit__(None, None, None)
        assert other.run(current_session) is there is not here
        assert list(later) != []
        assert current_session() is None
        other.run(scope.__exit__, None, None, None)
        assert other.run(current_session) is None


class TestGenerator:
    def test_exhausted_in_a_copy(self, manager: SessionManager) -> None:
        """A generator that a copy of its context exhausts leaves nothing behind in the original."""
        started = stream(manager)
        next(started)
        contextvars.copy_context().run(list, started)
        assert current_session() is None

    def test_closed_at_home(self, manager: SessionManager) -> None:
        """One that is closed where it was started does not remove the session of code that runs in it."""
        started = stream(manager)
        session = next(started)
        assert session is not None
        child = contextvars.copy_context()
        started.close()  # type: ignore[attr-defined]
        assert current_session() is None
        assert child.run(current_session) is session
        assert session.bind(current_session)() is session

    @pytest.mark.parametrize("end", ["exhaust", "close"])
    @pytest.mark.parametrize("how", ["join", "key", "bind", "join async", "key async", "bind async"])
    def test_ended_in_a_call(self, manager: SessionManager, how: str, end: str) -> None:
        """One that ends in a call of a function of the same session is not current after the call."""
        started: Any = stream(manager, key="a")
        session = next(started)

        def function() -> None:
            list(started) if end == "exhaust" else started.close()

        async def coroutine_function() -> None:
            function()

        wrapped: Any = coroutine_function if how.endswith("async") else function
        if how.startswith("bind"):
            wrapped = session.bind(wrapped)
        else:
            key = (lambda: "a") if how.startswith("key") else None
            wrapped = manager.with_session(key=key)(wrapped)
        result = wrapped()
        if result is not None:
            with pytest.raises(StopIteration):
                result.send(None)
        assert current_session() is None

    def test_left_elsewhere(self, manager: SessionManager) -> None:
        """A scope that was left elsewhere is not joined through one of another manager inside it."""
        started: Any = stream(manager)
        next(started)
        with SessionManager(client=CountingClient()).session() as inner:
            contextvars.Context().run(started.close)
            with manager.session() as session:
                assert current_session() is session
            assert current_session() is inner
        assert current_session() is None

    def test_own_scopes(self, manager: SessionManager) -> None:
        """A decorated generator is in the scopes that it has entered itself at each of its steps."""

        @manager.with_session
        def decorated() -> Iterator[bool]:
            with manager.session(new=True) as session:
                for _ in range(3):
                    yield current_session() is session

        @manager.with_session
        async def adecorated() -> AsyncIterator[bool]:
            async with manager.session(new=True) as session:
                for _ in range(3):
                    yield current_session() is session

        async def main() -> list[bool]:
            return [seen async for seen in adecorated()]

        assert list(decorated()) == [True] * 3
        assert asyncio.run(main()) == [True] * 3
        assert current_session() is None

    def test_own_scopes_of_a_streamed_body(self, manager: SessionManager) -> None:
        """So is the body of a WSGI response."""

        def app(environ: Any, start_response: Any) -> Iterator[bytes]:
            with manager.session(key="chat-42"):
                for _ in range(3):
                    session = current_session()
                    assert session is not None
                    yield str(session.key).encode()

        body = HLSessionMiddleware(app, manager)({}, lambda *_: lambda _: None)
        assert list(body) == [b"chat-42"] * 3
        assert current_session() is None
