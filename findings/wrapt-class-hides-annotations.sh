#!/usr/bin/env bash
#
# Who looks at `type(wrapper).__annotations__` once takes the annotations from all wrappers of that class.
#
# Expected: reading an attribute of a class changes nothing, and a proxy of wrapt shows what the wrapped function has.
#
# Seen: with wrapt 2.5.2, the annotations of a function that a subclass of ObjectProxy wraps are empty after somebody has
# read those of the subclass, as Python up to 3.13 stores a new dictionary in the class then, which comes before the
# attribute of the proxy. Nothing is raised, and the function itself still has them.
#
# Why it hurts: frameworks inject arguments by annotations. A decorator of an instrumentation works until some other
# library inspects the class of a callable object, in tests in some orders only.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -c 'import sys; sys.exit(sys.version_info >= (3, 14) and "Python 3.13 or earlier is needed")'
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check wrapt==2.5.2

cat > "$folder/run.py" <<'PYTHON'
import wrapt


class Wrapper(wrapt.ObjectProxy):
    pass


def function(question: str) -> int: ...


wrapper = Wrapper(function)
before = dict(wrapper.__annotations__)
of_class = type(wrapper).__annotations__
after = wrapper.__annotations__
print("before:", before, "of the class:", of_class, "after:", after, "of the function:", function.__annotations__)
assert before == function.__annotations__ == {"question": str, "return": int}
assert of_class == after == {}
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
