"""The picture of the rooms shows what the import contracts say."""

import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "docs" / "rooms.py"

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="needs the checkout")

CONTRACTS = """
[[tool.importlinter.contracts]]
type = "layers"
containers = ["shop", "shop.till"]
layers = ["window | door", "till : shelf", "(cellar)", "(attic) | ground"]

[[tool.importlinter.contracts]]
type = "forbidden"
source_modules = ["shop.door"]
forbidden_modules = ["shop.cellar"]
"""


@pytest.fixture(scope="module")
def rooms() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_the_picture_is_up_to_date(rooms: dict[str, Any]) -> None:
    """After a change of a contract, or of a docstring that it names, ``make docs-picture`` is due."""
    drawn = rooms["draw"](rooms["read_houses"](ROOT))

    assert drawn == rooms["PICTURE"].read_text(encoding="utf-8"), "run: make docs-picture"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with contracts of every form, and some of what they name."""
    (tmp_path / "pyproject.toml").write_text(CONTRACTS)
    for folder in ("shop", "shop/till"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text(f'"""What is in ``{folder}``."""\n')
        for name in ("window", "door", "shelf", "cellar", "ground"):
            (tmp_path / folder / f"{name}.py").write_text('"""Jobs & :class:`~shop.Job`.\n\nMore."""\n')
    (tmp_path / "shop" / "till" / "till.py").touch()
    return tmp_path


def test_contracts_are_read_as_import_linter_does(rooms: dict[str, Any], project: Path) -> None:
    """Layers from the top, siblings that know one another or do not, and rooms that may be missing."""
    shop, till = rooms["read_houses"](project)

    assert (shop.name, shop.job) == ("shop", "What is in shop")
    assert [[room.name for room in floor.rooms] for floor in shop.floors] == [
        ["window.py", "door.py"],
        ["till/", "shelf.py"],
        ["cellar.py"],
        ["ground.py"],
    ]
    assert [floor.are_apart for floor in shop.floors] == [True, False, True, True]
    assert [room.is_optional for floor in shop.floors for room in floor.rooms] == [False] * 4 + [True, False]
    assert shop.floors[0].rooms[0].job == "Jobs & shop.Job"
    assert till.floors[1].rooms[0] == ("till.py", "", False)


def test_layers_stand_above_one_another_and_siblings_side_by_side(
    rooms: dict[str, Any], project: Path
) -> None:
    """Each room is a box, those of a layer on one height, and nothing stands outside of the picture."""
    picture = ET.fromstring(rooms["draw"](rooms["read_houses"](project)))

    boxes = [
        {name: int(box.attrib[name]) for name in ("x", "y", "width", "height")}
        for box in picture.iter("{http://www.w3.org/2000/svg}rect")
    ]
    *_, width, height = (int(number) for number in picture.attrib["viewBox"].split())
    house, *standing = boxes[:7]
    heights = [box["y"] for box in standing]
    assert heights[0] == heights[1] < heights[2] == heights[3] < heights[4] < heights[5]
    assert standing[0]["x"] + standing[0]["width"] < standing[1]["x"]
    assert all(box["x"] + box["width"] <= width and box["y"] + box["height"] <= height for box in boxes)
    assert all(box["y"] + box["height"] < house["height"] for box in standing)
    kinds = [path.attrib["class"] for path in picture.iter("{http://www.w3.org/2000/svg}path")]
    assert kinds == ["bridge", "arrow"] * 2


def test_many_siblings_stand_in_rows(rooms: dict[str, Any]) -> None:
    """Rooms never get so narrow that nothing can be read."""
    many = [rooms["Room"](f"room{number}.py", "What it does", is_optional=False) for number in range(13)]
    house = rooms["House"]("house", "", [rooms["Floor"](many, are_apart=True)])

    picture = ET.fromstring(rooms["draw"]([house]))

    boxes = list(picture.iter("{http://www.w3.org/2000/svg}rect"))[1:]
    assert len(boxes) == len(many)
    assert min(int(box.attrib["width"]) for box in boxes) >= 100
    assert [len({box.attrib[at] for box in boxes}) for at in ("x", "y")] == [5, 3]
