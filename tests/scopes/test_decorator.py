import asyncio
import contextvars
import copy
import functools
import gc
import inspect
import operator
import pickle
import sys
import types
import uuid
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import aclosing, nullcontext, suppress
from typing import Any

import pytest
import trio

from hl_sessions import (
    Session,
    SessionManager,
    bind,
    configure,
    current_session,
    current_session_id,
    datapoint,
    with_session,
)
from hl_sessions.defaults import _default
from tests.interpreters import collects_at_once
from tests.sessions_api import SessionsAPI
from tests.waiting import in_threads

Managers = Callable[..., SessionManager]


@pytest.fixture(autouse=True)
def default(manager: SessionManager, monkeypatch: pytest.MonkeyPatch) -> Iterator[SessionManager]:
    """The manager of the decorated functions here; after every test the caller is outside of all scopes."""
    monkeypatch.setattr(_default, "manager", manager)
    assert current_session() is None
    yield manager
    assert current_session() is None


def seen() -> Session:
    session = current_session()
    assert session is not None
    return session


@with_session
def at_module_level(number: int = 1) -> int:
    """Doubles."""
    assert seen()
    return 2 * number


class Static:
    @with_session
    @staticmethod
    def outside() -> int:
        """Two."""
        return 2 if seen() else 0

    @staticmethod
    @with_session
    def inside() -> int:
        """Three."""
        return 3 if seen() else 0


class Chat:
    @with_session
    def method(self) -> tuple["Chat", Session]:
        return self, seen()

    @with_session
    async def amethod(self) -> Session:
        return seen()

    @with_session
    @classmethod
    def above_class(cls) -> tuple[type["Chat"], Session]:
        return cls, seen()

    @classmethod
    @with_session
    def below_class(cls) -> tuple[type["Chat"], Session]:
        return cls, seen()

    @with_session
    @staticmethod
    def above_static(number: int) -> tuple[int, Session]:
        return number, seen()

    @staticmethod
    @with_session
    def below_static(number: int) -> tuple[int, Session]:
        return number, seen()

    @property
    @with_session
    def prop(self) -> Session:
        return seen()

    @with_session
    def __call__(self) -> Session:
        return seen()


class CallableObject:
    """Called as it is."""

    answer = 42

    def __call__(self, number: int) -> tuple[int, Session]:
        return number, seen()


class AsyncCallableObject:
    async def __call__(self, number: int) -> tuple[int, Session]:
        return number, seen()


class TestKinds:
    def test_function(self, sessions_api: SessionsAPI) -> None:
        """A call is a scope, and nothing is left of it afterwards, also after an error."""

        @with_session
        def read(*, error: bool = False) -> str | None:
            if error:
                raise LookupError
            return current_session_id()

        assert read() != read()
        with pytest.raises(LookupError):
            read(error=True)
        assert current_session() is None
        assert sessions_api.posts == 2

    def test_joins(self, manager: SessionManager) -> None:
        """It joins the surrounding session, unless new=True or another manager is given."""
        assert with_session(lambda: with_session(current_session)() is current_session())()
        with manager.session() as outer:
            assert with_session(seen)() is outer
            assert manager.with_session(seen)() is outer
            assert with_session(new=True)(seen)() is not outer
            assert manager.with_session(new=True)(seen)() is not outer

    def test_managers(self, make_manager: Managers, default: SessionManager) -> None:
        """The manager is the one given, else the default one at the time of the call."""
        other = make_manager()
        assert with_session(manager=other)(seen)().manager is other
        assert other.with_session(seen)().manager is other
        assert other.with_session()(seen)().manager is other
        decorated = with_session(seen)
        assert decorated().manager is default
        with other.session(new=True) as session:
            assert decorated() is session
            assert with_session(new=True)(seen)().manager is other
        latest = configure(default._client.base_url)
        assert decorated().manager is latest
        latest.close()

    def test_coroutine_function(self) -> None:
        """The scope of a coroutine function lasts until it returns; tasks beside it are outside."""

        @with_session
        async def read(inside: asyncio.Event, go_on: asyncio.Event) -> Session:
            first = seen()
            inside.set()
            await go_on.wait()
            assert seen() is first
            return first

        async def main() -> None:
            pairs = [(asyncio.Event(), asyncio.Event()) for _ in range(3)]
            tasks = [asyncio.create_task(read(*pair)) for pair in pairs]
            for inside, _ in pairs:
                await inside.wait()
            assert current_session() is None
            for _, go_on in reversed(pairs):
                go_on.set()
            assert len(set(await asyncio.gather(*tasks))) == 3

        asyncio.run(main())

    def test_coroutine_function_on_trio(self) -> None:
        """The same on trio, and with an error."""

        @with_session
        async def fail() -> None:
            first = seen()
            await trio.lowlevel.checkpoint()
            assert seen() is first
            raise LookupError

        with pytest.raises(LookupError):
            trio.run(fail)

    def test_coroutine_closed_elsewhere(self) -> None:
        """An unfinished coroutine may be closed in any context."""

        @types.coroutine
        def pause() -> Generator[None, None, None]:
            yield

        @with_session
        async def wait() -> None:
            await pause()

        for decorated in (wait, with_session(new=True)(wait)):
            coroutine: Any = decorated()
            contextvars.copy_context().run(coroutine.send, None)
            contextvars.copy_context().run(coroutine.close)

    def test_methods(self) -> None:
        """Methods of every kind get what they are bound to, the decorator above or below the other one."""
        chat = Chat()
        assert chat.method()[0] is chat
        assert Chat.method(chat)[0] is chat
        assert Chat.above_class()[0] is Chat.below_class()[0] is Chat
        assert chat.above_class()[0] is chat.below_class()[0] is Chat
        assert Chat.above_static(1)[0] == chat.above_static(1)[0] == 1
        assert Chat.below_static(number=2)[0] == chat.below_static(2)[0] == 2
        assert asyncio.run(chat.amethod())
        assert chat.prop is not chat()

    def test_bound_method(self) -> None:
        """A method may be decorated after it was bound."""
        chat = CallableObject()
        assert with_session(chat.__call__)(3)[0] == 3
        assert with_session(key="number")(chat.__call__)(3)[1].key == "3"

    def test_callable_objects(self) -> None:
        """A callable object, also with an async __call__, looks like that object to introspection."""
        plain, asynchronous = with_session(CallableObject()), with_session(AsyncCallableObject())
        assert plain(1)[0] == 1
        assert plain.answer == 42
        assert isinstance(plain, CallableObject)
        assert plain.__doc__ == "Called as it is."
        assert asyncio.run(asynchronous(2))[0] == 2
        # How Starlette, FastAPI and others ask:
        assert not inspect.iscoroutinefunction(plain.__call__)
        assert callable(asynchronous)
        assert inspect.iscoroutinefunction(asynchronous.__call__)
        assert inspect.signature(asynchronous) == inspect.signature(AsyncCallableObject())
        assert with_session(key="number")(AsyncCallableObject())

    def test_partials_and_c_callables(self) -> None:
        """Partial objects and callables written in C are functions like others."""

        async def read(number: int) -> tuple[int, Session]:
            return number, seen()

        partial = with_session(functools.partial(read, 1))
        assert inspect.iscoroutinefunction(partial)
        assert asyncio.run(partial())[0] == 1
        assert with_session(functools.partial(CallableObject(), 2))()[0] == 2
        assert with_session(operator.itemgetter(1))("ab") == "b"
        assert with_session(len)("abc") == 3

        class Holder:
            first = with_session(operator.itemgetter(0))

        assert Holder().first("ab") == "a"

    @pytest.mark.parametrize("new", [False, True])
    def test_sync_function_that_gives_what_runs_later(self, new: Any) -> None:
        """The generator or coroutine that a plain function returns runs in the scope of the call."""

        async def coroutine() -> Session:
            await asyncio.sleep(0)
            return seen()

        def generator() -> Iterator[Session]:
            yield seen()
            yield seen()

        async def async_generator() -> AsyncIterator[Session]:
            yield seen()
            yield seen()

        @types.coroutine
        def old_style() -> Generator[Any, None, Session]:
            yield from asyncio.sleep(0).__await__()
            return seen()

        opened: list[Session] = []

        def call(function: Callable[[], Any]) -> Any:
            opened.append(seen())
            return function()

        async def collected() -> list[Session]:
            return [session async for session in decorated(async_generator)]

        async def awaited(function: Callable[[], Any]) -> Session:
            result = decorated(function)
            assert inspect.isawaitable(result)
            session: Session = await result
            return session

        decorated = with_session(new=new)(call)
        assert asyncio.run(awaited(coroutine)) is opened[-1]
        assert asyncio.run(awaited(old_style)) is opened[-1]
        assert list(decorated(generator)) == [opened[-1]] * 2
        assert asyncio.run(collected()) == [opened[-1]] * 2
        assert len(opened) == 4

    @pytest.mark.parametrize(("new", "is_joined"), [(False, False), (False, True), (True, False)])
    def test_coroutine_function_that_gives_what_runs_later(self, new: Any, *, is_joined: bool) -> None:
        """So does what a coroutine function returns, such as the stream of a model."""
        opened: list[Session] = []

        def generator() -> Iterator[Session]:
            yield seen()
            yield seen()

        async def async_generator() -> AsyncIterator[Session]:
            yield seen()
            yield seen()

        @with_session(new=new)
        async def call(function: Callable[[], Any]) -> Any:
            opened.append(seen())
            return function()

        async def main() -> None:
            with SessionManager("http://127.0.0.1:9/v4").session() if is_joined else nullcontext():
                streams = [await call(generator), await call(async_generator)]
            assert current_session() is None
            assert [*streams[0]] == [opened[0]] * 2
            assert [session async for session in streams[1]] == [opened[1]] * 2
            assert current_session() is None

        asyncio.run(main())
        assert (opened[0] is opened[1]) == is_joined

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
    @pytest.mark.parametrize("new", [False, True])
    def test_marked_coroutine_function(self, new: Any) -> None:
        """A plain function that is marked as a coroutine function runs in the scope from the first line."""
        opened: list[Session] = []

        async def later() -> Session:
            return seen()

        def call() -> Coroutine[Any, Any, Session]:
            opened.append(seen())
            return later()

        mark = getattr(inspect, "markcoroutinefunction")  # noqa: B009 - unknown to type checkers for 3.10
        decorated = with_session(new=new)(mark(call))
        assert inspect.iscoroutinefunction(decorated)
        assert asyncio.run(decorated()) is opened[0]

    @pytest.mark.parametrize("wrong", [Chat, 1, "name", object()])
    def test_what_cannot_be_decorated(self, wrong: Any) -> None:
        """Classes and what cannot be called are refused where they are decorated."""
        with pytest.raises(TypeError, match="only functions, methods and callable objects"):
            with_session(wrong)

    @pytest.mark.parametrize("decorate", [with_session, datapoint])
    def test_a_forgotten_name_of_an_argument(self, decorate: Any) -> None:
        with pytest.raises(TypeError, match=r"with_session\(key='chat'\), or datapoint\(source='chat'\)"):
            decorate("chat")

    @pytest.mark.parametrize("decorate", [with_session, datapoint])
    def test_a_forgotten_await_is_told_by_the_name_of_the_function(self, decorate: Any) -> None:
        async def answer() -> None: ...

        def forget() -> None:
            decorate(answer)()
            gc.collect()

        with pytest.warns(RuntimeWarning, match=f"coroutine '{answer.__qualname__}' was never awaited"):
            forget()

    def test_wrong_settings(self) -> None:
        """So are a manager without its name, key together with new, and a key of another type."""
        with pytest.raises(TypeError, match="not SessionManager"):
            with_session(SessionManager())
        with pytest.raises(ValueError, match="exclude each other"):
            with_session(key="a", new=True)
        with pytest.raises(TypeError, match="name of a parameter or a callable, not int"):
            with_session(key=42)  # type: ignore[call-overload]


class TestLooks:
    def functions(self) -> list[Callable[..., Any]]:
        def function(a: int, /, b: str = "x", *c: float, d: bool, **e: Any) -> None:
            """What it does."""

        async def coroutine(a: int) -> None:
            """What it does."""

        def generator(a: int) -> Iterator[int]:
            """What it does."""
            yield a

        async def async_generator(a: int) -> AsyncIterator[int]:
            """What it does."""
            yield a

        return [function, coroutine, generator, async_generator]

    @pytest.mark.parametrize("settings", [{}, {"new": True}, {"key": "a"}], ids=str)
    @pytest.mark.parametrize("number", range(4))
    def test_unchanged(self, number: int, settings: dict[str, Any]) -> None:
        """Introspection of a decorated function has the same results as without the decorator."""
        plain = self.functions()[number]
        decorated = with_session(**settings)(plain)
        assert inspect.signature(decorated) == inspect.signature(plain)
        for ask in (
            inspect.isfunction,
            inspect.iscoroutinefunction,
            inspect.isgeneratorfunction,
            inspect.isasyncgenfunction,
            inspect.getsource,
            inspect.unwrap,
            callable,
            hash,
        ):
            assert ask(decorated) == ask(plain)
        for name in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__", "__defaults__"):
            assert getattr(decorated, name) == getattr(plain, name)
        assert "__signature__" not in vars(plain)

    def test_who_looks_at_the_class_hides_no_annotations(self) -> None:
        """As libraries do that inspect a callable object; before Python 3.14 that changes a plain class."""

        def function(number: int) -> None: ...

        for plain in (function, functools.partial(function)):
            decorated: Any = with_session(plain)
            assert type(decorated).__annotations__ == {}
            assert inspect.get_annotations(type(decorated)) == {}
            assert getattr(decorated, "__annotations__", None) == getattr(plain, "__annotations__", None)

    def test_methods_unchanged(self) -> None:
        """Methods of every kind keep their looks, on the class and on the instance."""
        chat = Chat()
        assert not inspect.signature(chat.method).parameters
        assert list(inspect.signature(Chat.method).parameters) == ["self"]
        assert list(inspect.signature(Chat.above_static).parameters) == ["number"]
        assert not inspect.signature(Chat.below_class).parameters
        assert inspect.ismethod(chat.method)
        assert inspect.iscoroutinefunction(chat.amethod)
        assert inspect.iscoroutinefunction(Chat.amethod)
        assert chat.method.__self__ is chat
        assert chat.method == chat.method
        assert chat.method != Chat().method

    def test_pickled_by_name(self) -> None:
        """The decorator keeps functions and methods picklable that are so without it."""
        assert pickle.loads(pickle.dumps(at_module_level)) is at_module_level
        chat = pickle.loads(pickle.dumps(Chat().method))()[0]
        assert isinstance(chat, Chat)

    def test_a_static_method_is_pickled_by_name(self) -> None:
        """Whichever of the two decorators is above the other."""
        for function in (Static.inside, Static.outside):
            assert pickle.loads(pickle.dumps(function))() == function()

    def test_what_cannot_be_pickled_says_how(self, manager: SessionManager) -> None:
        """A bound function and a local one name themselves, and the way out."""
        with manager.session():
            bound = bind(at_module_level)
        for function in (bound, with_session(lambda: None)):
            with pytest.raises(pickle.PicklingError, match=r"cannot be pickled: .* call bind\(\) in"):
                pickle.dumps(function)

    @pytest.mark.parametrize("decorate", [with_session, datapoint])
    def test_copied_callable_object(self, decorate: Any) -> None:
        """A copy is another object, whose calls are scopes, too; its pickle says how."""

        class Answers:
            def __init__(self) -> None:
                self.given: list[Any] = []

            def __call__(self, question: str) -> str:
                self.given.append((question, current_session()))
                return question.upper()

        decorated = decorate(Answers())
        for copied in (copy.copy(decorated), copy.deepcopy(decorated)):
            assert copied("why?") == "WHY?"
            assert copied.__wrapped__ is not decorated.__wrapped__
            ((_, session),) = copied.given
            assert (session is not None) == (decorate is with_session)
            copied.given.clear()
        with pytest.raises(pickle.PicklingError, match="decorate it in the other process"):
            pickle.dumps(decorated)

    def test_copied(self) -> None:
        """It is copied like a function: not at all."""
        assert copy.copy(at_module_level) is at_module_level
        assert copy.deepcopy({"f": at_module_level})["f"] is at_module_level


class TestGenerators:
    def test_steps(self, manager: SessionManager) -> None:
        """Every step is inside of one session, the consumer between them outside."""

        @with_session
        def stream() -> Iterator[Session]:
            for _ in range(3):
                yield seen()

        sessions = []
        for session in stream():
            assert current_session() is None
            sessions.append(session)
        assert len(sessions) == 3
        assert len(set(sessions)) == 1
        with manager.session() as outer:
            assert set(stream()) == {outer}

    @pytest.mark.parametrize("settings", [{}, {"new": True}, {"key": "name"}], ids=str)
    def test_interleaved(self, settings: dict[str, Any]) -> None:
        """Two interleaved generators never see each other's session."""

        @with_session(**settings)
        def stream(name: str) -> Iterator[Session]:
            yield seen()
            yield seen()

        @with_session(**settings)
        async def astream(name: str) -> AsyncIterator[Session]:
            yield seen()
            await asyncio.sleep(0)
            yield seen()

        a, b = stream("a"), stream("b")
        steps = [next(a), next(b), next(a), next(b)]
        assert steps[0] is steps[2] is not steps[1] is steps[3]

        async def main() -> None:
            a, b = astream("a"), astream("b")
            steps = [await anext(a), await anext(b), await anext(a), await anext(b)]
            assert steps[0] is steps[2] is not steps[1] is steps[3]
            assert current_session() is None

        asyncio.run(main())

    def test_stepped_anywhere(self) -> None:
        """The steps of a generator may run in fresh contexts and in threads."""

        @with_session
        def stream() -> Iterator[Session]:
            try:
                yield seen()
                yield seen()
            finally:
                closed.append(seen())

        closed: list[Session] = []
        generator: Any = stream()
        first = contextvars.Context().run(next, generator)
        assert in_threads(lambda: next(generator))[0].result(20) is first
        contextvars.copy_context().run(generator.close)
        assert closed == [first]

    def test_protocol(self) -> None:
        """send, throw, close and the return value reach the inner generator, inside of the scope."""
        events: list[object] = []

        @with_session
        def talk() -> Generator[object, object, str]:
            first = seen()
            while True:
                try:
                    events.append((yield "ready"))
                except LookupError as error:  # noqa: PERF203 - thrown in again and again
                    events.append(error)
                    if error.args == ("stop",):
                        return "stopped"
                finally:
                    assert seen() is first

        def delegate() -> Generator[object, object, str]:
            return (yield from talk())

        talking = delegate()
        error, stop = LookupError("one"), LookupError("stop")
        assert next(talking) == "ready"
        assert talking.send("hello") == "ready"
        assert talking.throw(error) == "ready"
        with pytest.raises(StopIteration) as stopped:
            talking.throw(stop)
        assert stopped.value.value == "stopped"
        assert events == ["hello", error, stop]

    @pytest.mark.parametrize("decorate", [with_session, lambda function: function], ids=["with", "without"])
    def test_same_as_without(self, decorate: Callable[[Any], Any]) -> None:
        """However a generator takes being closed, it is the same with and without the decorator."""

        @decorate
        def ignores() -> Iterator[int]:
            for _ in range(3):
                with suppress(GeneratorExit):
                    yield 1

        @decorate
        def returns() -> Generator[int, None, str]:
            try:
                yield 1
            except GeneratorExit:
                return "closed"
            return "ended"

        @decorate
        def raises() -> Iterator[int]:
            try:
                yield 1
            finally:
                raise LookupError

        stubborn = ignores()
        next(stubborn)
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            stubborn.close()
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            stubborn.close()
        polite: Any = returns()
        next(polite)
        assert polite.close() == ("closed" if sys.version_info >= (3, 13) else None)
        polite = returns()
        next(polite)
        with pytest.raises(StopIteration) as stopped:
            polite.throw(GeneratorExit)
        assert stopped.value.value == "closed"
        angry: Any = raises()
        next(angry)
        with pytest.raises(LookupError):
            angry.close()
        unstarted: Any = returns()
        unstarted.close()
        assert list(unstarted) == []
        with pytest.raises(StopIteration):
            next(unstarted)

    @collects_at_once
    def test_collected(self) -> None:
        """A generator that is dropped is closed inside of its scope, without waiting for the collector."""
        closed: list[Session] = []

        @with_session
        def stream() -> Iterator[Session]:
            try:
                yield seen()
            finally:
                closed.append(seen())

        gc.disable()
        try:
            generator: Any = stream()
            session = next(generator)
            del generator
            assert closed == [session]
            generator = stream()
            next(generator)
            with pytest.raises(LookupError):
                generator.throw(LookupError())
            del generator
            assert len(closed) == 2
        finally:
            gc.enable()

    @collects_at_once
    def test_thrown_errors_are_let_go(self) -> None:
        """An error that was thrown in is not kept, nor what it holds, until the collector comes."""

        @with_session
        def stream() -> Iterator[int]:
            yield 1

        class Thrown(Exception):  # noqa: N818 - the name of a value
            pass

        def throw() -> weakref.ref[Thrown]:
            generator: Any = stream()
            next(generator)
            thrown = [Thrown()]  # popped, as a variable of this frame would keep it
            reference = weakref.ref(thrown[0])
            with suppress(Thrown):
                generator.throw(thrown.pop())
            return reference

        gc.disable()
        try:
            assert throw()() is None
        finally:
            gc.enable()

    def test_async_protocol(self) -> None:
        """asend, athrow and aclose reach the inner async generator, inside of the scope."""
        events: list[object] = []

        @with_session
        async def talk() -> AsyncGenerator[str, object]:
            first = seen()
            try:
                while True:
                    try:
                        await asyncio.sleep(0)
                        events.append((yield "ready"))
                    except LookupError as error:  # noqa: PERF203 - as above
                        events.append(error)
                        if error.args == ("stop",):
                            return
            finally:
                await asyncio.sleep(0)
                assert seen() is first
                events.append("closed")

        async def main() -> None:
            error, stop = LookupError("one"), LookupError("stop")
            talking = talk()
            assert await anext(talking) == "ready"
            assert await talking.asend("hello") == "ready"
            assert await talking.athrow(error) == "ready"
            assert current_session() is None
            with pytest.raises(StopAsyncIteration):
                await talking.athrow(stop)
            assert events == ["hello", error, stop, "closed"]
            async with aclosing(talk()) as talking:
                await anext(talking)
            assert events[-1] == "closed"
            assert len(events) == 5
            with pytest.raises(StopAsyncIteration):
                await anext(talking)
            unstarted = talk()
            await unstarted.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(unstarted)

        asyncio.run(main())

    @pytest.mark.parametrize("decorate", [with_session, lambda function: function], ids=["with", "without"])
    def test_async_same_as_without(self, decorate: Callable[[Any], Any]) -> None:
        """However an async generator takes being closed, it is the same with and without the decorator."""

        @decorate
        async def returns() -> AsyncIterator[int]:
            with suppress(GeneratorExit):
                yield 1

        @decorate
        async def raises() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                raise LookupError

        async def main() -> None:
            polite: Any = returns()
            await anext(polite)
            await polite.aclose()
            polite = returns()
            await anext(polite)
            with pytest.raises(StopAsyncIteration):
                await polite.athrow(GeneratorExit())
            angry = raises()
            await anext(angry)
            with pytest.raises(LookupError):
                await angry.aclose()

        asyncio.run(main())

    @pytest.mark.parametrize("run", ["asyncio", "trio"])
    def test_left_open_at_the_end_of_the_loop(
        self, run: str, caplog: pytest.LogCaptureFixture, default: SessionManager
    ) -> None:
        """An async generator that is open when its event loop ends is closed once, inside of its scope."""
        closed: list[Session] = []
        kept: list[object] = []

        @with_session
        async def stream() -> AsyncIterator[Session]:
            try:
                yield seen()
            finally:
                if run == "asyncio":
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                closed.append(seen())

        async def main() -> None:
            generator = stream()
            kept.append(generator)
            closed_later.append(await anext(generator))

        closed_later: list[Session] = []
        if run == "asyncio":
            asyncio.run(main())
        else:
            trio.run(main)
        assert closed == closed_later
        assert [record for record in caplog.records if record.name == "asyncio"] == []


class TestKeyParameter:
    def test_however_it_is_passed(self) -> None:
        """The named parameter is the key, passed by position, by keyword, or as a default."""

        @with_session(key="chat_id")
        def read(text: str, chat_id: object = "default", *, flag: bool = False) -> str | None:
            return seen().key

        assert read("x", 1) == read("x", chat_id=1) == read(chat_id=1, text="x") == "1"
        assert read("x") == "default"
        assert read("x", None) is None

    def test_keyword_only(self) -> None:
        """So is a keyword-only one, and one that only its position names."""

        @with_session(key="chat_id")
        def keyword(*texts: str, chat_id: int, **rest: int) -> str | None:
            return seen().key

        @with_session(key="chat_id")
        def position(chat_id: int, /, **rest: int) -> str | None:
            return seen().key

        assert keyword("a", "b", chat_id=3) == "3"
        assert position(4, chat_id=5) == "4"

    def test_kinds(self) -> None:
        """Functions of every kind have one."""

        @with_session(key="chat_id")
        async def coroutine(chat_id: int) -> str | None:
            return seen().key

        @with_session(key="chat_id")
        def generator(chat_id: int) -> Iterator[str | None]:
            yield seen().key

        @with_session(key="chat_id")
        async def async_generator(chat_id: int) -> AsyncIterator[str | None]:
            yield seen().key

        async def main() -> list[str | None]:
            return [await coroutine(1), *[key async for key in async_generator(2)]]

        assert [*asyncio.run(main()), *generator(3)] == ["1", "2", "3"]

    def test_methods(self) -> None:  # noqa: C901 - one class with all kinds
        """So have methods of every kind, the decorator above or below the other one."""

        class Bot:
            name = "bot"

            @with_session(key="chat_id")
            def method(self, chat_id: int) -> str | None:
                return seen().key

            @with_session(key="chat_id")
            @classmethod
            def above_class(cls, chat_id: int) -> str | None:
                return seen().key

            @classmethod
            @with_session(key="chat_id")
            def below_class(cls, chat_id: int) -> str | None:
                return seen().key

            @with_session(key="chat_id")
            @staticmethod
            def above_static(chat_id: int) -> str | None:
                return seen().key

            @staticmethod
            @with_session(key="chat_id")
            def below_static(chat_id: int) -> str | None:
                return seen().key

            @with_session(key=lambda self, chat_id: f"{self.name}-{chat_id}")
            def by_callable(self, chat_id: int) -> str | None:
                return seen().key

            @with_session(key=lambda cls, chat_id: f"{cls.name}-{chat_id}")
            @classmethod
            def class_by_callable(cls, chat_id: int) -> str | None:
                return seen().key

            @with_session(key=lambda chat_id: f"static-{chat_id}")
            @staticmethod
            def static_by_callable(chat_id: int) -> str | None:
                return seen().key

        bot = Bot()
        for method in (bot.method, bot.above_class, bot.below_class, bot.above_static, bot.below_static):
            assert method(1) == method(chat_id=1) == "1"
        assert Bot.method(bot, 2) == Bot.method(bot, chat_id=2) == "2"
        for function in (Bot.above_class, Bot.below_class, Bot.above_static, Bot.below_static):
            assert function(3) == "3"
        assert bot.by_callable(4) == Bot.by_callable(bot, chat_id=4) == "bot-4"
        assert bot.class_by_callable(5) == Bot.class_by_callable(chat_id=5) == "bot-5"
        assert bot.static_by_callable(6) == Bot.static_by_callable(6) == "static-6"
        assert with_session(key="chat_id")(bot.method)(7) == "7"

    @pytest.mark.parametrize("name", ["chatid", "texts", "rest", ""])
    def test_no_such_parameter(self, name: str) -> None:
        """A name that no parameter has is an error when decorating; it shows the names there are."""

        def read(chat_id: int, *texts: str, **rest: int) -> None: ...

        with pytest.raises(TypeError, match=f"key='{name}' is not a parameter of .*read, which has: chat_id"):
            with_session(key=name)(read)

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations were evaluated at once")
    def test_beside_what_is_defined_further_down(self) -> None:
        """Where annotations are evaluated when they are asked for, none is: it may be too early."""

        @with_session(key="name")
        def read(name: str, other: Later) -> Session | None:  # noqa: F821 - this is the point
            return current_session()

        class Later:
            pass

        session = read("anna", Later())
        assert session is not None
        assert session.key == "anna"

    def test_callable(self) -> None:
        """A key callable is given the arguments of the call; None means no key."""

        @with_session(key=lambda update, context: update.get("chat"))
        def handle(update: dict[str, int], context: object) -> str | None:
            return seen().key

        assert handle({"chat": 7}, None) == handle(update={"chat": 7}, context=1) == "7"
        assert handle({}, None) is None

    def test_conversation(self, sessions_api: SessionsAPI) -> None:
        """Calls with the same key are one session, others are others."""

        @with_session(key="chat_id")
        async def read(chat_id: object) -> str | None:
            return await seen().aid()

        number = uuid.uuid4()
        first = [asyncio.run(read(key)) for key in (1, "1", number, str(number), None, None)]
        assert first[0] == first[1]
        assert first[2] == first[3]
        assert len(set(first)) == 4
        assert sessions_api.posts == 4

    @pytest.mark.parametrize("wrong", [1.5, True, b"x", ["x"]], ids=repr)
    def test_wrong_type(self, wrong: object) -> None:
        """A key of another type is an error of the call, which names the parameter or the callable."""

        def read(chat_id: object) -> None:
            raise AssertionError

        with pytest.raises(TypeError, match=r"^chat_id must be a str, an int or a uuid.UUID, not "):
            with_session(key="chat_id")(read)(wrong)

        def find_key(chat_id: object) -> object:
            return chat_id

        with pytest.raises(TypeError, match=r"find_key gives must be a str, an int or a uuid.UUID"):
            with_session(key=find_key)(read)(wrong)
        with pytest.raises(ValueError, match="chat_id must not be empty"):
            with_session(key="chat_id")(read)("")

    def test_wrong_call(self) -> None:
        """A call with the wrong arguments fails as it would without the decorator."""

        @with_session(key="chat_id")
        def read(text: str, chat_id: int) -> None: ...

        call: Any = read
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'chat_id'"):
            call("x")
        with pytest.raises(TypeError, match="unexpected keyword argument 'chatid'"):
            call("x", chatid=1)


def test_wait_is_not_needed() -> None:
    """Decorating and calling make no call of the API: the default manager here has none to call."""
    assert at_module_level(2) == 4


def test_awaitable_type() -> None:
    """A decorated coroutine function gives a coroutine, which tasks and gather take."""

    @with_session
    async def read() -> Session:
        return seen()

    result: Awaitable[Session] = read()
    assert inspect.iscoroutine(result)
    assert asyncio.run(result)
