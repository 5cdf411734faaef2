#!/usr/bin/env bash
#
# Polars leaves out a field that the first hundred lines of a JSON Lines file do not have; DuckDB, after some 20,000.
#
# Expected: a line with a field that is not known yet is an error, or the column is added, with nulls above it.
#
# Seen: polars 2.1.0 takes the fields from the first 100 lines; one that appears later is not in the table, without a
# warning, in `read_ndjson`, `scan_ndjson` and `DataFrame(rows)`. DuckDB 2.0.1 does the same after its sample, of 20,480
# lines. pandas has the column.
#
# Why it hurts: what is rare in a log is what is looked for. If the first `error`, `feedback` or `parent` comes late, a
# table of the datapoints says that there were none. Give `infer_schema_length=None`, and DuckDB `sample_size=-1`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0 duckdb==2.0.1 pandas==3.1.1
"$folder/environment/bin/python" - "$folder/log.jsonl" <<'PYTHON'
import json
import sys
from importlib.metadata import version

import duckdb
import pandas
import polars

(path,) = sys.argv[1:]


def write(count):
    rows = [{"output": "42"} for _ in range(count - 1)] + [{"output": None, "error": "TimeoutError"}]
    with open(path, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return rows


def duckdb_columns(options=""):
    return duckdb.sql(f"SELECT * FROM read_json('{path}'{options})").columns


found = {}
for count in (100, 101, 20_480, 22_529):
    rows = write(count)
    found[count] = {
        "read_ndjson": polars.read_ndjson(path).columns,
        "scan_ndjson": polars.scan_ndjson(path).collect().columns,
        "DataFrame": polars.DataFrame(rows).columns,
        "all lines": polars.read_ndjson(path, infer_schema_length=None).columns,
        "DuckDB": duckdb_columns(),
        "DuckDB, all lines": duckdb_columns(", sample_size=-1"),
        "pandas": list(pandas.read_json(path, lines=True).columns),
    }
print("polars", version("polars"), "duckdb", version("duckdb"), "pandas", version("pandas"))
for count, columns in found.items():
    print(count, columns)
short = {
    count: [name for name, each in columns.items() if each != ["output", "error"]]
    for count, columns in found.items()
}
assert short == {
    100: [],
    101: ["read_ndjson", "scan_ndjson", "DataFrame"],
    20_480: ["read_ndjson", "scan_ndjson", "DataFrame"],
    22_529: ["read_ndjson", "scan_ndjson", "DataFrame", "DuckDB"],
}, short
PYTHON
