#!/usr/bin/env bash
#
# cint, which Weave brings, and literalai, which Chainlit brings, install a package `tests`. It hides that of a project.
#
# Expected: a wheel of a library has the library, and the folder of the project comes first in `sys.path`.
#
# Seen: after an installation of cint 1.0.0 (Weave 0.54.0 needs polyfile-weave, that needs cint) or literalai 0.1.201
# (Chainlit 2.12.0 needs it), `import tests.helpers` in the folder of a project raises ModuleNotFoundError if its tests/
# has no `__init__.py`: a folder without one counts only if no package of that name is anywhere in the path.
#
# Why it hurts: who adds Weave or Chainlit to a project has tests that cannot import their own helpers. The error names
# neither. An empty `tests/__init__.py` is the remedy.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/project/tests"
echo 'QUESTION = "Why?"' > "$folder/project/tests/helpers.py"

python3 -m venv "$folder/venv"
cd "$folder/project"
"$folder/venv/bin/python" -c "import tests.helpers"
echo "before: the helpers are imported"
for requirement in cint==1.0.0 literalai==0.1.201; do
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps "$requirement"
  "$folder/venv/bin/python" - "$requirement" <<'PYTHON'
import sys

sys.path.insert(0, "")
import tests

print(sys.argv[1], "tests is", tests.__file__)
assert "site-packages" in tests.__file__
try:
    import tests.helpers
except ModuleNotFoundError as error:
    print(error)
else:
    raise AssertionError("the helpers were imported")
PYTHON
  "$folder/venv/bin/pip" uninstall --quiet --yes "${requirement%=*=*}"
done
touch tests/__init__.py
"$folder/venv/bin/python" -c "import tests.helpers"
