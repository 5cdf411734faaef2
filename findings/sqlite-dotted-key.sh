#!/usr/bin/env bash
#
# `attributes ->> 'session.id'` is NULL in SQLite 3.44 and the session in SQLite 3.46.
#
# Expected: the text after ->> is the key, dots and digits included, as in PostgreSQL; in any version.
#
# Seen: up to SQLite 3.44 a text with a dot is a path of two keys, and one of digits the index of a list (apsw
# 3.44.0.0 brings that SQLite; Debian 12's is 3.40.1, and the `sqlite3` module of Python uses it there).
# SQLite 3.46 (apsw 3.46.1.0) takes both for keys. With json_extract the dot is a path in all versions;
# `$."session.id"` is right everywhere. Duplicate keys: the first counts, in both; in Python's json the last.
#
# Why it hurts: every name of OpenTelemetry has a dot (`session.id`, `gen_ai.conversation.id`). A query over
# exported logs finds all sessions on a laptop and none in the container, without an error; or another value,
# where both forms are there.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

cat > "$folder/ask.py" <<'PYTHON'
import json
import sys

import apsw

ATTRIBUTES = json.dumps({"session.id": "sesh_1", "session": {"id": "nested"}, "2026": "year"})
QUERIES = {
    "->> 'session.id'": "SELECT ? ->> 'session.id'",
    "->> '2026'": "SELECT ? ->> '2026'",
    """json_extract '$."session.id"'""": """SELECT json_extract(?, '$."session.id"')""",
}
answers = [next(apsw.Connection(":memory:").execute(query, (ATTRIBUTES,)))[0] for query in QUERIES.values()]
print("SQLite", apsw.sqlitelibversion(), dict(zip(QUERIES, answers)))
first = next(apsw.Connection(":memory:").execute("""SELECT '{"a":1,"a":2}' ->> 'a'"""))[0]
assert (first, json.loads('{"a":1,"a":2}')["a"]) == (1, 2)
assert answers == json.loads(sys.argv[1]), answers
PYTHON

ask() {
  python3 -m venv "$folder/$1"
  "$folder/$1/bin/pip" install --quiet --disable-pip-version-check "apsw==$1"
  "$folder/$1/bin/python" "$folder/ask.py" "$2"
}
ask 3.44.0.0 '["nested", null, "sesh_1"]'
ask 3.46.1.0 '["sesh_1", "year", "sesh_1"]'
