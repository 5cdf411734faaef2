#!/usr/bin/env bash
#
# Since FastAPI keeps routers as they were included, a walk over `app.routes` sees none of their routes.
#
# Expected: `app.routes` lists each route with its whole path, those of included routers too, as it has always done.
#
# Seen: FastAPI 0.128.0 lists `/outer` and `/api/inner`. FastAPI 0.165.0 lists `/outer`, and for the router one object
# without a path, whose class is private. Requests are answered as before, and no line of a log says so.
#
# Why it hurts: code that walks the routes, to check that each asks for a user, or to find the dependencies that open a
# scope, passes with success: it has looked at the half of them.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

cat > "$folder/run.py" <<'PYTHON'
import sys

import fastapi
from fastapi import APIRouter, FastAPI

app = FastAPI(openapi_url=None)
router = APIRouter()


@app.get("/outer")
def outer():
    return 1


@router.get("/inner")
def inner():
    return 1


app.include_router(router, prefix="/api")
paths = [getattr(route, "path", None) for route in app.routes]
print(fastapi.__version__, paths)
assert paths == (["/outer", "/api/inner"] if sys.argv[1] == "before" else ["/outer", None])
PYTHON

for version in before=0.128.0 after=0.165.0; do
  python3 -m venv "$folder/${version%=*}"
  "$folder/${version%=*}/bin/pip" install --quiet --disable-pip-version-check "fastapi==${version#*=}"
  "$folder/${version%=*}/bin/python" "$folder/run.py" "${version%=*}"
done
