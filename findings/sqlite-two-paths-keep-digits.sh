#!/usr/bin/env bash
#
# SQLite's json_extract returns a number as it was written only if it is asked for two paths.
#
# Expected: a path returns the same digits whether it is asked for alone or beside another, as text and in a
# list; what is written once in the document has one text.
#
# Seen: SQLite 3.54.1 (apsw 3.54.1.0) converts the number of a single path: 0.6666666666666666 becomes
# 0.66666666666666663, 1e22 becomes 1.0e+22, and an unsigned ID of 64 bits a float. With two paths the answer is
# a list that has the digits of the document; so has the operator `->`, but not `->>`.
#
# Why it hurts: a filter that compares texts, `metadata ->> 'share' = '0.6666666666666666'`, finds nothing, where
# PostgreSQL finds the row. Ours compares the digits of the list.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check apsw==3.54.1.0
"$folder/environment/bin/python" - <<'PYTHON'
import apsw

QUERY = """
SELECT CAST(json_extract(document, '$.n') AS TEXT), json_extract(document, '$.n', '$.n'),
       document -> 'n', CAST(document ->> 'n' AS TEXT)
FROM (SELECT ? AS document)
"""
CONVERTED = {
    "0.6666666666666666": "0.66666666666666663",
    "1e22": "1.0e+22",
    "18446744073709551615": "1.8446744073709552e+19",
}

connection = apsw.Connection(":memory:")
print("SQLite", apsw.sqlite_lib_version())
for written, converted in CONVERTED.items():
    [(one, two, arrow, long_arrow)] = connection.execute(QUERY, ('{"n": %s}' % written,))
    print(f"{written}: one path {one}, two paths {two}, -> {arrow}, ->> {long_arrow}")
    assert (one, long_arrow) == (converted, converted)
    assert (two, arrow) == (f"[{written},{written}]", written)
PYTHON
