"""A datapoint that stays open for a while: for a block, a call or a stream."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import suppress
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar

from hl_sessions.datapoints.fields import OF_BEGINNING, changes, check, is_of_named_session
from hl_sessions.datapoints.fixed import fix, fixed_fields
from hl_sessions.datapoints.queue import Entry
from hl_sessions.datapoints.responses import StreamedFields, text_of_chunk
from hl_sessions.process.late_imports import late_import
from hl_sessions.process.saying import say
from hl_sessions.process.seldom import Seldom
from hl_sessions.scopes.decorator import parameters_of
from hl_sessions.sessions.calls import Stay, call_staying
from hl_sessions.sessions.context import along

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Token
    from types import TracebackType

    from typing_extensions import Self

    from hl_sessions.datapoints.recorder import Parent, Recorder
    from hl_sessions.sessions.calls import Call
    from hl_sessions.sessions.session import Session

__all__ = ["Datapoint", "NewDatapoint"]

Function = TypeVar("Function")

_unused = Seldom()

_CANCELLED = frozenset({"CancelledError", "Cancelled"})  # of asyncio and concurrent.futures, and of trio


class Datapoint:
    """A timed datapoint, complete when it ends. Datapoints that are logged meanwhile are nested under it.

    Use it by ``with`` and ``async with``, or as a decorator. Each call of a decorated function is a
    datapoint, with the arguments as its inputs and the result as its output, unless these are given.

    The given fields are copied when the datapoint begins. After that, any field can be set as an attribute:
    ``answer.output = reply``.

    Args:
        get_recorder: returns the recorder, called when the datapoint begins.
        fields: the fields of the datapoint.
    """

    # Private attributes have slots, so the dictionary of an instance holds the fields that were set.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_begun",
        "_entry",
        "_first_id_part",
        "_first_output_after",
        "_get_recorder",
        "_given",
        "_is_open",
        "_is_used",
        "_outer",
        "_outputs",
        "_recorder",
        "_reference_id",
        "_root",
        "_session",
        "_streamed",
        "_token",
    )

    _recorder: Recorder
    _first_id_part: str
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
        self._is_used = False
        self._outputs: list[str] = []
        self._streamed: StreamedFields | None = None
        self._first_output_after: float | None = None

    def __repr__(self) -> str:
        return f"<Datapoint {self._given.get('source', '')!r}>"

    if TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        # Python asks here for what is not set, as by ``answer.output += text``.
        hint = "; add_output(...) adds a piece of it" if name == "output" else ""
        raise AttributeError(f"{name!r} has not been set on this datapoint{hint}")

    @property
    def reference_id(self) -> str:
        """The reference ID, by which the API finds the datapoint; empty before it begins."""
        return self._reference_id

    def add_output(self, output: Any) -> None:
        """Add a piece to the output, such as a part of a streamed answer.

        Args:
            output: a text, or a chunk of a stream of OpenAI's or Anthropic's client, or a whole response. The
                tokens, the model and the calls of tools are logged, too. ``None``, as the content of some
                chunks, adds nothing.
        """
        if self._entry is not None and not self._is_open:
            self._recorder.warn("output was added to a datapoint that has ended or has not begun: it is lost")
        elif output is not None and not self._add_piece(output):
            self._note_output()
            self._outputs.append(_text(output))

    def _add_piece(self, output: Any) -> bool:
        """Add a piece to the output; return whether it is a text or a chunk."""
        try:
            text = output.decode(errors="replace") if isinstance(output, bytes) else text_of_chunk(output)
            if text is None:
                return False
            if not isinstance(output, (str, bytes)):
                if self._streamed is None:
                    self._streamed = StreamedFields()
                self._streamed.add(output)
        except Exception:  # noqa: BLE001 - raised by an object of the application
            return False
        if text:
            self._note_output()
            self._outputs.append(text)
        return True

    def __call__(self, function: Function) -> Function:
        """Decorate a function, method, coroutine function or generator: each call is a datapoint."""
        with late_import:  # a program that decorates nothing needs no wrapt
            from hl_sessions.sessions.wrapping import wrap

        self._is_used = True
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
        """Copy the given fields, and note the session."""
        if self._reference_id:
            raise RuntimeError("a datapoint is entered once; call datapoint() for each")
        self._is_used = True
        recorder = self._recorder = self._get_recorder()
        fields = self._given.copy()
        names_session = is_of_named_session(fields)
        session = self._session = recorder.session(is_needed=not names_session)
        self._outer = along.get()
        parent = recorder.parent(session)
        reference_id = self._reference_id = recorder.complete(fields, session, parent)
        self._root = parent._root if parent else reference_id
        fixed = recorder.fix(fields, is_new=True)
        if fixed is not None:
            if names_session:
                session, self._root = recorder.owner(session, self._root, fixed)
            self._entry = recorder.entry(session, reference_id, self._root, fixed)

    def begin(self) -> None:
        """Begin the datapoint: its duration counts from now on."""
        self._begun = time.perf_counter()
        self._first_id_part = self._recorder.first_part
        if self._entry is not None:
            self._is_open = self._entry.is_open = True
            self._recorder.put(self._entry)

    def end(self, error: BaseException | None = None) -> None:
        """End the datapoint, and log the fields that were set since its beginning."""
        entry = self._entry
        if entry is None or not self._is_open:
            return
        self._is_open = False
        if self._first_id_part is not self._recorder.first_part:
            return  # its beginning is that of the process that has forked this one, and so is its end
        streamed = {} if self._streamed is None else self._streamed.fields("".join(self._outputs))
        fields = {**streamed, **vars(self)}
        self.__class__ = _EndedDatapoint
        fields.setdefault("duration", time.perf_counter() - self._begun)
        if self._outputs:
            before = vars(self).get("output")
            fields["output"] = "".join(self._outputs if before is None else [_text(before), *self._outputs])
        if error is not None and not isinstance(error, GeneratorExit):
            fields.setdefault("error", _described(error))
        if self._first_output_after is not None:
            first = {"time_to_first_output": self._first_output_after}
            fields["metadata"] = {**self._metadata(fields, entry), **first}
        fixed = self._recorder.fix_end(fields, entry)
        if self._recorder.end(entry, fixed) or entry.is_refused:
            return
        reference_id, root = entry.reference_id, entry.root
        if entry.is_dropped:
            parts = entry.parts if fixed is None else (*entry.parts, fixed)
            again = Entry(
                entry.session,
                reference_id,
                root,
                *parts,
                is_completion=entry.is_completion,
                owns_reference_id=entry.owns_reference_id,
            )
            self._recorder.put(again)
        elif fixed is not None:
            self._warn_of_late(fields)
            if not OF_BEGINNING.isdisjoint(fields):
                known = fixed_fields([fixed])
                fixed, _ = fix(changes({**known, "save": fields.get("save", True)}))
            self._recorder.put(Entry(entry.session, reference_id, root, fixed, is_completion=True))

    def _metadata(self, fields: Mapping[str, Any], entry: Entry) -> Mapping[str, Any]:
        """Return the metadata of the end, or else of the beginning."""
        given = fields if "metadata" in fields else fixed_fields(entry.parts)
        kept, problems = check({"metadata": given.get("metadata")})
        self._recorder.warn_of(problems)
        metadata: Mapping[str, Any] = kept.get("metadata", {})
        return metadata

    def _warn_of_late(self, fields: Mapping[str, Any]) -> None:
        """Warn of fields that were set too late."""
        late = OF_BEGINNING.intersection(fields)
        if late:
            self._recorder.warn(
                f"a datapoint was sent before {', '.join(sorted(late))} was set, which has no effect:"
                " pass it to datapoint()"
            )

    def _note_output(self) -> None:
        if self._first_output_after is None and self._is_open:
            self._first_output_after = time.perf_counter() - self._begun

    def _leave(self) -> None:
        try:
            along.reset(self._token)
        except ValueError:  # a generator was closed in another context
            if along.get() is self:
                along.set(self._outer)


class NewDatapoint(Datapoint):
    """A datapoint that the application has made, which tells if it is never used.

    It is of this class until it ends, so those that have ended are freed without a call of ``__del__``.
    """

    __slots__ = ()

    def __del__(self) -> None:
        is_used = getattr(self, "_is_used", True)  # a copy that fails has no attributes
        if not is_used and not sys.is_finalizing() and _unused.is_due(None):
            say(
                logging.WARNING,
                "a datapoint was made but not used, so nothing is logged: enter it by 'with', or decorate a"
                " function with it; log() logs a complete one",
            )


class _EndedDatapoint(Datapoint):
    """A datapoint that has ended, which tells of fields that are set too late."""

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        self._recorder.warn(f"{name} was set on a datapoint that has ended: it is lost")


class _Stay(Stay):
    """The steps of a call that is one datapoint. The datapoint begins with the first step."""

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
        with suppress(TypeError, ValueError):  # the parameters of some functions in C are unknown
            target = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
            for name, parameter in parameters_of(target).items():
                if parameter.kind is parameter.VAR_POSITIONAL:
                    self._rest = name
                elif parameter.kind not in {parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD}:
                    self._names.append(name)

    def named(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by name, without the instance or class of a method."""
        names = self._names
        if isinstance(wrapped, MethodType):
            names = names if self._was_bound else names[1:]
        elif args and names and _is_receiver(names[0], args[0]):
            names, args = names[1:], args[1:]
        rest = {self._rest: args[len(names) :]} if len(args) > len(names) else {}
        return {**dict(zip(names, args, strict=False)), **rest, **kwargs}


def _is_receiver(name: str, value: object) -> bool:
    """Whether a first argument is the instance or class, which a property, for one, passes to a function."""
    return name == "self" or (name == "cls" and isinstance(value, type))


def _call(function: Any, get_recorder: Callable[[], Recorder], fields: dict[str, Any]) -> Call:
    """Return the behaviour by which each call of a function is a datapoint."""
    arguments = None if "inputs" in fields else _Arguments(function)

    def open_stay(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Stay:
        inputs = {} if arguments is None else arguments.named(wrapped, args, kwargs)
        datapoint = Datapoint(get_recorder, {**fields, "inputs": inputs} if inputs else fields)
        datapoint.prepare()
        return _Stay(datapoint)

    return call_staying(function, open_stay)


def _described(error: BaseException) -> str:
    """Return the type and the message of an error."""
    if _is_cancelled(error):
        return "cancelled"
    name, message = type(error).__name__, _text(error)
    return f"{name}: {message}" if message else name


def _is_cancelled(error: BaseException) -> bool:
    name = type(error).__name__
    if name == "BaseExceptionGroup":  # of a cancelled nursery of trio; on Python 3.10 that of a package
        return all(map(_is_cancelled, getattr(error, "exceptions", ())))
    return name in _CANCELLED


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - raised by a class of the application
        return ""
