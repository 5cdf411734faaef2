"""The addresses of the pages."""

import re
from typing import Final

SIGN_IN: Final = "/sign-in"
STATIC: Final = "/static"

_LOCAL: Final = re.compile(r"/(?![/\\])[!-~]*")


def local_path(path: str | None) -> str:
    """Give a path of this server to go on to: the given one, or ``/`` for one that leads elsewhere."""
    return path if path is not None and _LOCAL.fullmatch(path) and "\\" not in path else "/"
