"""Finds the saved files, and reads them entry by entry."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from hl_sessions.server.humanloop.found import Project, Record, UnreadableError
from hl_sessions.server.humanloop.identity import Identities
from hl_sessions.server.humanloop.importing import Entry, Source
from hl_sessions.server.humanloop.v4_pages import is_log, read_record, records_of
from hl_sessions.server.humanloop.v5_logs import project_of, read_evaluation_log, read_log
from hl_sessions.server.records.export_format import numbered, read_json

_ORDER: Final = ("flow", "agent", "prompt", "tool", "evaluator")
"""The kinds of files, in order: traces come as a whole with their flow, and judged logs before their
judgments.
"""


@dataclass
class Tree:
    """The output of ``humanloop-export``.

    Args:
        folder: The folder with ``files`` in it.
        described: The content of ``file.json`` of each file, by its folder.
        unreadable: The files that could not be read, with the reasons.
        unfinished: The folders of files that the tool did not export to their end.
    """

    folder: Path
    described: dict[Path, dict[str, Any]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    unfinished: list[Path] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> "Tree":
        """Look through a folder.

        Raises:
            UnreadableError: When there is no export in it.
        """
        if not (folder / "files").is_dir():
            raise UnreadableError(
                f"{folder}: there is no folder 'files' in it, as 'humanloop-export' makes it"
            )
        tree = cls(folder)
        for of_file in sorted(path for path in (folder / "files").iterdir() if path.is_dir()):
            if not (of_file / ".done").exists():
                tree.unfinished.append(of_file)
            try:
                tree.described[of_file] = file = read_object(of_file / "file.json")
                project_of(file)
            except UnreadableError as error:
                tree.described[of_file] = {}
                tree.unreadable.append(f"{of_file / 'file.json'}: {error}")
        return tree

    def projects(self) -> list[Project]:
        """Return the projects of all files except datasets."""
        return [project_of(file) for file in self.described.values() if file.get("type") in _ORDER]

    def sources(self, identities: Identities) -> list[Source]:
        """Return all files with logs, in an order in which referenced files come first."""
        logs = [path for of_file in self._in_order() for path in _latest_last(of_file / "logs")]
        return [
            *(partial(_lines, path, partial(read_log, identities=identities)) for path in logs),
            *(
                partial(_lines, path, partial(read_evaluation_log, identities=identities))
                for path in self._evaluation_logs()
            ),
        ]

    def size(self) -> int:
        """Return the size of all files with logs, in bytes."""
        return sum(path.stat().st_size for path in self.folder.glob("files/**/logs/*.jsonl"))

    def not_kept(self, versions: Collection[str]) -> Iterator[tuple[int, str]]:
        """Yield the kinds of data that this server cannot store, with their numbers.

        Args:
            versions: The IDs of the versions that are stored with datapoints.
        """
        files = self.folder / "files"
        unused = {
            path.name
            for of_file, file in self.described.items()
            if file.get("type") in _ORDER
            for path in (of_file / "versions").glob("*")
        }
        yield len(unused - set(versions)), "versions without a datapoint"
        yield sum(file.get("type") == "dataset" for file in self.described.values()), "datasets"
        evaluations = sum(1 for _ in files.glob("*/evaluations/*/evaluation.json"))
        yield evaluations, "evaluations' runs and statistics"
        yield (
            sum(path.stat().st_size > len("[]") for path in files.glob("*/deployments.json")),
            "files' deployments to environments",
        )

    def _evaluation_logs(self) -> list[Path]:
        return [
            path
            for of_file in self._in_order()
            for folder in sorted((of_file / "evaluations").glob("*/logs"))
            for path in _latest_last(folder)
        ]

    def _in_order(self) -> list[Path]:
        order = {kind: place for place, kind in enumerate(_ORDER)}
        return sorted(self.described, key=lambda path: order.get(str(self.described[path].get("type")), 0))


def pages(paths: Iterable[Path], identities: Identities) -> list[Source]:
    """Return saved answers of v4: those with projects and sessions before those with datapoints."""
    paths = list(paths)
    return [
        partial(_records, path, identities, of_logs=of_logs) for of_logs in (False, True) for path in paths
    ]


def _lines(path: Path, read: Callable[[Any], Iterable[Record]]) -> Iterator[Entry]:
    try:
        file = path.open("rb")
    except OSError as error:
        yield Entry(str(path), 0, partial(_refuse, str(error.strerror)))
        return
    with file:
        for number, text in numbered(file):
            yield Entry(f"{path}, line {number}", len(text), partial(_read_line, text, read))


def _read_line(text: bytes, read: Callable[[Any], Iterable[Record]]) -> Iterable[Record]:
    try:
        value = read_json(text)
    except (ValueError, RecursionError):
        raise UnreadableError("this is not JSON") from None
    if not isinstance(value, dict):
        raise UnreadableError("this is no JSON object")
    return read(value)


def _records(path: Path, identities: Identities, *, of_logs: bool) -> Iterator[Entry]:
    size = 0 if of_logs else path.stat().st_size
    try:
        records = records_of(read_object(path))
    except UnreadableError as error:
        # Reported once, and not each time the file is read.
        if not of_logs:
            yield Entry(str(path), size, partial(_refuse, str(error)))
        return
    for number, record in enumerate(records, start=1):
        if is_log(record) == of_logs:
            place = f"{path}, record {number}"
            yield Entry(place, size // len(records), partial(read_record, record, identities))


def _refuse(problem: str) -> Iterable[Record]:
    raise UnreadableError(problem)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        UnreadableError: When the file cannot be read, or holds anything else.
    """
    try:
        value = read_json(path.read_bytes())
    except OSError as error:
        raise UnreadableError(f"{error.strerror}") from None
    except (ValueError, RecursionError):
        raise UnreadableError("this is not JSON") from None
    if not isinstance(value, dict):
        raise UnreadableError("this is no JSON object")
    return value


def _latest_last(folder: Path) -> list[Path]:
    # The first file holds the newest logs.
    return sorted(folder.glob("*.jsonl"), key=lambda path: (len(path.stem), path.stem), reverse=True)
