"""A datapoint that is open for a while: a block, a call, a stream."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar

from hl_sessions.datapoints.fixed import fix, fixed_fields
from hl_sessions.datapoints.queue import Entry
from hl_sessions.datapoints.responses import fields_of_chunk, text_of_chunk
from hl_sessions.process.late_imports import late_import
from hl_sessions.scopes.decorator import parameters_of
from hl_sessions.sessions.calls import Stay, call_staying
from hl_sessions.sessions.context import along

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from types import TracebackType

    from typing_extensions import Self

    from hl_sessions.datapoints.recorder import Parent, Recorder
    from hl_sessions.sessions.calls import Call
    from hl_sessions.sessions.session import Session

__all__ = ["Datapoint"]

Function = TypeVar("Function")

_CANCELLED = frozenset({"CancelledError", "Cancelled"})  # of asyncio and concurrent.futures, and of trio

#: What the API does not change of a datapoint that it has.
_OF_BEGINNING = frozenset(
    {
        *("project", "project_id", "session_id", "session_reference_id", "parent_id", "parent_reference_id"),
        *("source", "environment", "feedback", "created_at", "config_id", "source_datapoint_id", "save"),
    }
)
#: What is not kept of a datapoint with ``save=False``.
_CONTENTS = frozenset(
    {
        *("inputs", "messages", "output", "output_message", "error", "stdout", "judgment"),
        *("provider_request", "provider_response"),
    }
)


class Datapoint:
    """A datapoint that is logged when it ends, and timed; what is logged meanwhile is nested under it.

    Used by ``with`` and ``async with``, or as a decorator: then each call is a datapoint, whose inputs are
    the arguments and whose output is the result, unless they are given.

    What is given when it is made is fixed when it begins. Any field can be set as an attribute later on:
    ``answer.output = reply``.

    Args:
        get_recorder: returns what takes it, at the time it begins.
        fields: the fields of the datapoint.
    """

    # What is private has a slot, so the dictionary of an instance holds the fields that were set.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_begun",
        "_entry",
        "_first_output_after",
        "_get_recorder",
        "_given",
        "_is_open",
        "_outer",
        "_outputs",
        "_recorder",
        "_reference_id",
        "_root",
        "_session",
        "_token",
        "_told",
    )

    _recorder: Recorder
    _session: Session | None
    _root: str
    _outer: Parent | None
    _token: Token[Any]

    def __init__(self, get_recorder: Callable[[], Recorder], fields: dict[str, Any]) -> None:
        self._get_recorder = get_recorder
        self._given = fields
        self._entry: Entry | None = None
        self._reference_id = ""
        self._is_open = False
        self._outputs: list[str] = []
        self._told: dict[str, Any] = {}
        self._first_output_after: float | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._given.get('source', '')!r}>"

    if TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

    @property
    def reference_id(self) -> str:
        """Its reference ID, by which the API finds it; empty as long as it has not begun."""
        return self._reference_id

    def add_output(self, output: Any) -> None:
        """Add a piece to the output, as of an answer that is streamed.

        Args:
            output: a text, or a chunk as the clients of OpenAI and Anthropic give it, which may tell the
                tokens and the model, too.
        """
        if self._entry is not None and not self._is_open:
            self._recorder.warn("output was added to a datapoint that has ended, or not begun: it is lost")
        elif not self._add_piece(output):
            self._note_output()
            self._outputs.append(_text(output))

    def _add_piece(self, output: Any) -> bool:
        """Add a piece to the output; whether it is one."""
        text = output.decode(errors="replace") if isinstance(output, bytes) else text_of_chunk(output)
        if text is None:
            return False
        if not isinstance(output, (str, bytes)):
            self._told.update(fields_of_chunk(output))
        if text:
            self._note_output()
            self._outputs.append(text)
        return True

    def __call__(self, function: Function) -> Function:
        """Decorate a function, method, coroutine function or generator: each call is a datapoint."""
        with late_import:  # a program that decorates nothing needs no wrapt
            from hl_sessions.sessions.wrapping import wrap

        result: Function = wrap(function, lambda called: _call(called, self._get_recorder, self._given))
        return result

    def __enter__(self) -> Self:
        self.prepare()
        self.begin()
        self._token = along.set(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()
        self.end(exc_value)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc_value, traceback)

    def prepare(self) -> None:
        """Fix what was given, and to which session it belongs."""
        if self._reference_id:
            raise RuntimeError("a datapoint is entered once; call datapoint() for each")
        recorder = self._recorder = self._get_recorder()
        session = self._session = recorder.session()
        self._outer = along.get()
        parent = recorder.parent(session)
        fields = self._given.copy()
        reference_id = self._reference_id = recorder.complete(fields, session, parent)
        self._root = parent._root if parent else reference_id
        fixed = recorder.fix(fields, is_new=True)
        if fixed is not None:
            self._entry = recorder.entry(session, reference_id, self._root, fixed)

    def begin(self) -> None:
        """Begin: from now on the time counts."""
        self._begun = time.perf_counter()
        if self._entry is not None:
            self._is_open = True
            self._recorder.put(self._entry)

    def end(self, error: BaseException | None = None) -> None:
        """End, and log what has become known since the beginning."""
        entry = self._entry
        if entry is None or not self._is_open:
            return
        self._is_open = False
        fields = {**self._told, **vars(self)}
        fields.setdefault("duration", time.perf_counter() - self._begun)
        if self._outputs:
            before = vars(self).get("output")
            fields["output"] = "".join(self._outputs if before is None else [_text(before), *self._outputs])
        if error is not None and not isinstance(error, GeneratorExit):
            fields.setdefault("error", _described(error))
        if self._first_output_after is not None:
            metadata = fields.get("metadata", fixed_fields(entry.parts).get("metadata"))
            first = {"time_to_first_output": self._first_output_after}
            fields["metadata"] = {**metadata, **first} if isinstance(metadata, Mapping) else first
        fixed = self._recorder.fix(fields, is_new=False)
        if fixed is None or entry.is_refused or self._recorder.amend(entry, fixed):
            return
        reference_id, root = entry.reference_id, entry.root
        if entry.is_dropped:
            self._recorder.put(Entry(entry.session, reference_id, root, *entry.parts, fixed))
        else:
            late = self._warn_of_late(fields)
            left_out = late | _CONTENTS if fields.get("save") is False else late
            if left_out:
                known = fixed_fields([fixed])
                fixed, _ = fix({name: known[name] for name in known.keys() - left_out})
            self._recorder.put(Entry(entry.session, reference_id, root, fixed, is_completion=True))

    def _warn_of_late(self, fields: Mapping[str, Any]) -> frozenset[str]:
        """Return the fields that came too late, after saying so."""
        late = _OF_BEGINNING.intersection(fields)
        if late:
            self._recorder.warn(
                f"a datapoint had been sent when it was given {', '.join(sorted(late))}, which is not"
                " changed: give it to datapoint()"
            )
        return late

    def _note_output(self) -> None:
        if self._first_output_after is None and self._is_open:
            self._first_output_after = time.perf_counter() - self._begun

    def _leave(self) -> None:
        try:
            along.reset(self._token)
        except ValueError:  # a generator that is closed in another context
            if along.get() is self:
                along.set(self._outer)


class _Stay(Stay):
    """The steps of a call that is one datapoint, which begins with the first of them."""

    def __init__(self, datapoint: Datapoint) -> None:
        super().__init__(along, datapoint)
        self._datapoint = datapoint
        self._has_begun = False

    def enter(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._datapoint.begin()
        super().enter()

    def has_yielded(self, item: Any) -> None:
        self._datapoint._note_output()
        self._datapoint._add_piece(item)

    def has_returned(self, result: Any) -> None:
        datapoint = self._datapoint
        if result is not None and "output" not in vars(datapoint) and not datapoint._outputs:
            datapoint.output = result

    def end(self, error: BaseException | None) -> None:
        self._datapoint.end(error)


class _Arguments:
    """Names the arguments of the calls of a function."""

    def __init__(self, function: Any) -> None:
        self._was_bound = isinstance(function, MethodType)
        self._names: list[str] = []
        self._rest = "args"
        with suppress(TypeError, ValueError):  # nobody knows the parameters of some functions in C
            target = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
            for name, parameter in parameters_of(target).items():
                if parameter.kind is parameter.VAR_POSITIONAL:
                    self._rest = name
                elif parameter.kind not in {parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD}:
                    self._names.append(name)

    def named(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by their names; without the instance or class of a method."""
        is_method = isinstance(wrapped, MethodType) and not self._was_bound
        names = self._names[1:] if is_method else self._names
        rest = {self._rest: args[len(names) :]} if len(args) > len(names) else {}
        return {**dict(zip(names, args, strict=False)), **rest, **kwargs}


def _call(function: Any, get_recorder: Callable[[], Recorder], fields: dict[str, Any]) -> Call:
    """Return what each call of a function does to be a datapoint."""
    arguments = None if "inputs" in fields else _Arguments(function)

    def open_stay(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Stay:
        inputs = {} if arguments is None else arguments.named(wrapped, args, kwargs)
        datapoint = Datapoint(get_recorder, {**fields, "inputs": inputs} if inputs else fields)
        datapoint.prepare()
        return _Stay(datapoint)

    return call_staying(function, open_stay)


def _described(error: BaseException) -> str:
    """Return the type and the message of an error."""
    name = type(error).__name__
    if name in _CANCELLED:
        return "cancelled"
    message = _text(error)
    return f"{name}: {message}" if message else name


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - of an application's own class
        return ""
