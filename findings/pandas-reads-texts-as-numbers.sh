#!/usr/bin/env bash
#
# `pandas.read_json` makes numbers of JSON's strings: four session IDs become one.
#
# Expected: JSON says which values are texts: "0049170", "49170", "+49170" and "4.917e4" are four, and stay so, as with
# polars. CSV has no types, and is guessed at; JSON has.
#
# Seen: with pandas 3.1.1 a column whose texts can all be read as numbers becomes float64, or int64 if no digit is lost
# (pandas/io/json/_json.py, `_try_convert_data`); the text "nan" is no value, and "1e999" is infinity. One text that is
# no number leaves all of them as they are.
#
# Why it hurts: in an export of datapoints (JSON Lines) keys that are phone numbers lose "+" and leading zeros, and
# sessions are counted as one, only in files where all of them look like numbers. Give `dtype=False`, or the types.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1 polars==2.1.0
"$folder/environment/bin/python" - <<'PYTHON'
import io
import json
from importlib.metadata import version

import pandas
import polars

SESSIONS = ["0049170", "49170", "+49170", "4.917e4"]


def lines(sessions):
    return "\n".join(json.dumps({"session": session}) for session in sessions)


def read(sessions, **options):
    return pandas.read_json(io.StringIO(lines(sessions)), lines=True, **options).session.tolist()


found = [read(SESSIONS), read([*SESSIONS, "a"]), read(["nan", "1e999", "7"]), read(SESSIONS, dtype=False)]
in_polars = polars.read_ndjson(lines(SESSIONS).encode())["session"].to_list()
print("pandas", version("pandas"), *found, "polars", in_polars, sep="\n")
assert found[0] == [49170.0] * 4
assert found[1] == [*SESSIONS, "a"]
assert str(found[2]) == "[nan, inf, 7.0]"
assert found[3] == in_polars == SESSIONS
PYTHON
