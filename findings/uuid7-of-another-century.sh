#!/usr/bin/env bash
#
# A UUIDv7 of the package uuid7 is dated 176 years ahead by all others, and theirs 43 years back by it.
#
# Expected: a UUID of version 7 begins with the milliseconds of its time, whatever made it: IDs of two services sort by
# time, and each library reads the time of the other's.
#
# Seen: uuid7 0.1.0 follows a draft from before RFC 9562 (uuid_extensions/uuid7.py), and has the same version in its
# digits: read by the RFC, its IDs are those of 2203. uuid6 2025.0.1, uuid-utils 0.19.0 and fastuuid 0.14.0 follow the
# RFC.
#
# Why it hurts: sessions and messages that are sorted by ID are in order until a second service, or an update, makes
# them by another library: the new ones sort before all the old ones. What is looked up, or deleted, by the time in the
# ID is never found, or is gone at once. Take uuid-utils, or Python's own from 3.14 on.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  uuid7==0.1.0 uuid6==2025.0.1 uuid-utils==0.19.0 fastuuid==0.14.0
"$folder/venv/bin/python" - <<'PYTHON'
import time
from datetime import datetime, timezone
from importlib.metadata import version
from uuid import UUID

import fastuuid
import uuid6
import uuid_extensions
import uuid_utils

makers = {
    "uuid7": uuid_extensions.uuid7, "uuid6": uuid6.uuid7, "uuid-utils": uuid_utils.uuid7, "fastuuid": fastuuid.uuid7,
}
made = {}
for name, make in makers.items():
    made[name] = str(make())
    time.sleep(0.01)
this_year = datetime.now(timezone.utc).year
ahead = {}
for name, text in made.items():
    milliseconds = uuid_utils.UUID(text).timestamp
    ahead[name] = datetime.fromtimestamp(milliseconds / 1000, timezone.utc).year - this_year
    print(name, version(name), text, "is dated by uuid-utils, in years from now:", ahead[name])
back = uuid_extensions.uuid_to_datetime(UUID(made["uuid6"])).year - this_year
print("that of uuid6 is dated by uuid7, in years from now:", back)
print("made in this order:", *made, "sorted:", *sorted(made, key=made.__getitem__))
assert {UUID(text).version for text in made.values()} == {7}
assert [ahead[name] for name in ("uuid6", "uuid-utils", "fastuuid")] == [0, 0, 0]
assert ahead["uuid7"] > 170 and back < -40
assert sorted(made, key=made.__getitem__) == ["uuid6", "uuid-utils", "fastuuid", "uuid7"]
PYTHON
