#!/usr/bin/env bash
#
# `marshal` writes a numpy array, or number, without a word, and reads it as the bytes of its memory.
#
# Expected: ValueError ("unmarshallable object"), as for other objects that are of none of Python's plain types, such as
# a `datetime` or a subclass of `str`.
#
# Seen: with Python 3.11 and numpy 2.4.6, `marshal.dumps` takes an array, a `float32` and a standard `array.array`, and
# `loads` gives `bytes`: shape and type are gone, and 0.5 is b"\x00\x00\x00\x3f". `datetime` and a subclass of `str`
# raise ValueError. (Anything with the buffer protocol is written as bytes.)
#
# Why it hurts: marshal as a quick copy of plain data, with a slow path for what raises, keeps embeddings, scores and
# token counts of a model as raw memory, and no error tells.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6

cat > "$folder/copy.py" <<'PYTHON'
import array
import marshal
from datetime import datetime

import numpy


class Text(str):
    pass


def copied(value):
    try:
        return marshal.loads(marshal.dumps(value))
    except ValueError:
        return ValueError


values = {
    "array": numpy.array([[1, 2]], dtype="int16"),
    "float32": numpy.float32(0.5),
    "array.array": array.array("h", [1, 2]),
    "datetime": datetime(2026, 1, 1),
    "Text": Text("a"),
}
found = {name: copied(value) for name, value in values.items()}
for name, copy in found.items():
    print(f"{name}: {copy!r}")
assert found == {
    "array": b"\x01\x00\x02\x00",
    "float32": b"\x00\x00\x00\x3f",
    "array.array": b"\x01\x00\x02\x00",
    "datetime": ValueError,
    "Text": ValueError,
}, found
PYTHON
"$folder/venv/bin/python" "$folder/copy.py"
