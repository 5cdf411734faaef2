"""Draws the picture of the rooms from the import contracts: ``python docs/rooms.py``.

Each contract of the type ``layers`` in ``pyproject.toml`` is a house, and each of its layers a floor. What a
room is for is the first line of its docstring. So the picture shows what ``lint-imports`` holds, and no more.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib import import_module
from itertools import pairwise
from math import ceil
from pathlib import Path
from textwrap import wrap
from typing import Final, NamedTuple

tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

ROOT: Final = Path(__file__).parent.parent
PICTURE: Final = ROOT / "docs" / "rooms.svg"

# Pixels, as everything below.
WIDTH: Final = 860
BETWEEN_HOUSES: Final = 18
BETWEEN_FLOORS: Final = 8
BETWEEN_ROOMS: Final = 5
MARGIN: Final = 14  # around what stands in a house
STAIRS: Final = 28  # left of the floors, where the arrow is
PADDING: Final = 8  # around what stands in a room
NAME: Final = 118  # how far right of a name a job begins that stands beside it
NARROWEST_JOB: Final = 180  # beside a name; where there is less space it stands below
NARROWEST_ROOM: Final = 118  # where more rooms of a floor than fit would be narrower, they stand in rows
LINE: Final = 16
LETTER: Final = 6.3  # on average, in a wide font: nobody knows which one is there

_STYLE: Final = """
  text { font: 12px system-ui, sans-serif; fill: #59636e }
  .title { font: 600 14px ui-monospace, monospace; fill: #1f2328 }
  .name { font: 600 12px ui-monospace, monospace; fill: #1f2328 }
  .house { fill: #f6f8fa; stroke: #d1d9e0 }
  .folder { fill: #d9f2ea; stroke: #1a7f64 }
  .module { fill: #ffffff; stroke: #afb8c1 }
  .optional { stroke-dasharray: 4 3 }
  .bridge { stroke: #59636e; stroke-width: 2 }
  .arrow { fill: none; stroke: #1a7f64; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 }
    .title, .name { fill: #e6edf3 }
    .house { fill: #0d1117; stroke: #3d444d }
    .folder { fill: #12332c; stroke: #2ea98a }
    .module { fill: #151b23; stroke: #59636e }
    .bridge { stroke: #9198a1 }
    .arrow { stroke: #2ea98a }
  }
"""


class Room(NamedTuple):
    """A package or a module.

    Attributes:
        name: that of its folder, with a slash, or of its file.
        job: what it is for.
        is_optional: whether its contract can do without it.
    """

    name: str
    job: str
    is_optional: bool


class Floor(NamedTuple):
    """The rooms of one layer.

    Attributes:
        rooms: side by side.
        are_apart: whether they know nothing of one another.
    """

    rooms: Sequence[Room]
    are_apart: bool


class House(NamedTuple):
    """A package whose layers a contract holds.

    Attributes:
        name: that of the package, with dots.
        job: what it is for.
        floors: the highest one first.
    """

    name: str
    job: str
    floors: Sequence[Floor]


def read_houses(root: Path) -> Iterator[House]:
    """Read the contracts of the project in the folder ``root``, and the docstrings of what they name."""
    with (root / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    for contract in contracts:
        if contract["type"] != "layers":
            continue
        for container in contract["containers"]:
            folder = root.joinpath(*container.split("."))
            floors = [_read_floor(folder, layer) for layer in contract["layers"]]
            yield House(
                container, _read_job(folder / "__init__.py"), [floor for floor in floors if floor.rooms]
            )


def draw(houses: Iterable[House]) -> str:
    """Draw houses as SVG, one below the other."""
    elements: list[str] = []
    bottom = -BETWEEN_HOUSES
    for house in houses:
        drawn, bottom = _draw_house(house, bottom + BETWEEN_HOUSES)
        elements += drawn
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {WIDTH + 2} {bottom + 2}" role="img">',
            "<title>The rooms of hl-sessions: each imports from those below it only</title>",
            f"<style>{_STYLE}</style>",
            *elements,
            "</svg>",
            "",
        ]
    )


def _read_floor(folder: Path, layer: str) -> Floor:
    rooms = []
    for word in re.split(r"[|:]", layer):
        name = word.strip()
        is_optional = name.startswith("(")
        name = name.strip("()")
        if (folder / name / "__init__.py").is_file():
            rooms.append(Room(f"{name}/", _read_job(folder / name / "__init__.py"), is_optional))
        elif not is_optional or (folder / f"{name}.py").is_file():
            rooms.append(Room(f"{name}.py", _read_job(folder / f"{name}.py"), is_optional))
    return Floor(rooms, are_apart=":" not in layer)


def _read_job(path: Path) -> str:
    """Return the first line of a module's docstring as plain text, without its full stop."""
    docstring = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    return re.sub(r"(?::\w+:)?`+~?([^`]*)`+", r"\1", docstring.partition("\n")[0]).removesuffix(".")


def _draw_house(house: House, top: int) -> tuple[list[str], int]:
    """Draw a house; return its elements, and where it ends below."""
    job, bottom = _paragraph(MARGIN, top + MARGIN + LINE + 2, house.job, WIDTH - 2 * MARGIN)
    elements = [_text(MARGIN, top + MARGIN + LINE - 4, house.name, "title"), *job]
    highest = bottom + PADDING
    bottom = highest - BETWEEN_FLOORS
    for floor in house.floors:
        rooms, bottom = _draw_floor(floor, bottom + BETWEEN_FLOORS)
        elements += rooms
    elements += _arrow(MARGIN + STAIRS // 2, highest, bottom)
    bottom += MARGIN
    return [_box(0, top, WIDTH, bottom - top, "house"), *elements], bottom


def _draw_floor(floor: Floor, top: int) -> tuple[list[str], int]:
    """Draw the rooms of a floor; return them, and where they end below."""
    left, right = MARGIN + STAIRS, WIDTH - MARGIN
    rows = ceil(len(floor.rooms) / ((right - left) // NARROWEST_ROOM))
    length = ceil(len(floor.rooms) / rows)
    edges = [left + (right - left + BETWEEN_ROOMS) * place // length for place in range(length + 1)]
    places = [(x, end - BETWEEN_ROOMS - x) for x, end in pairwise(edges)]
    elements: list[str] = []
    bottom = top - BETWEEN_ROOMS
    for start in range(0, len(floor.rooms), length):
        row = list(zip(floor.rooms[start : start + length], places, strict=False))
        drawn, bottom = _draw_row(row, bottom + BETWEEN_ROOMS)
        elements += drawn
        if not floor.are_apart:
            y = bottom - PADDING
            elements += [f'<path d="M{x} {y} h-{BETWEEN_ROOMS}" class="bridge"/>' for _, (x, _) in row[1:]]
    return elements, bottom


def _draw_row(row: Sequence[tuple[Room, tuple[int, int]]], top: int) -> tuple[list[str], int]:
    """Draw rooms, each with its left and its width; return them, and where they end below."""
    texts = [_draw_text(room, x, top, width) for room, (x, width) in row]
    bottom = max(lowest for _, lowest in texts)
    boxes = [_box(x, top, width, bottom - top, _kind(room)) for room, (x, width) in row]
    return boxes + [element for text, _ in texts for element in text], bottom


def _kind(room: Room) -> str:
    return ("folder" if room.name.endswith("/") else "module") + " optional" * room.is_optional


def _draw_text(room: Room, left: int, top: int, width: int) -> tuple[list[str], int]:
    """Draw what stands in a room; return it, and where the room ends below."""
    x, y, space = left + PADDING, top + PADDING, width - 2 * PADDING
    if space - NAME >= NARROWEST_JOB:
        job, bottom = _paragraph(x + NAME, y, room.job, space - NAME)
    else:
        job, bottom = _paragraph(x, y + LINE + 1, room.job, space)
    return [_text(x, y + LINE - 4, room.name, "name"), *job], max(bottom, y + LINE) + PADDING - 2


def _arrow(x: int, top: int, bottom: int) -> list[str]:
    middle = (top + bottom) // 2
    return [
        f'<path d="M{x} {top} V{bottom - 1} m-5 -7 l5 7 l5 -7" class="arrow"/>',
        f'<text transform="translate({x - 7} {middle}) rotate(-90)" text-anchor="middle">imports</text>',
    ]


def _paragraph(x: int, top: int, text: str, width: int) -> tuple[list[str], int]:
    """Draw text in lines of a width; return them, and where they end below."""
    lines = wrap(text, int(width / LETTER) - 1)  # in a short line, letters may well be wider
    drawn = [_text(x, top + LINE * number - 4, line, "job") for number, line in enumerate(lines, 1)]
    return drawn, top + LINE * len(lines)


def _text(x: int, y: int, text: str, kind: str) -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(text)}</text>'


def _box(x: int, y: int, width: int, height: int, kind: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" class="{kind}"/>'


if __name__ == "__main__":
    PICTURE.write_text(draw(read_houses(ROOT)), encoding="utf-8")
