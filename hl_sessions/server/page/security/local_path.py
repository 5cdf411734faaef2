"""Paths of the pages, and a check of addresses to go on to."""

import re
from typing import Final

SIGN_IN: Final = "/sign-in"
STATIC: Final = "/static"

_LOCAL: Final = re.compile(r"/(?![/\\])[!-~]*")


def local_path(path: str | None, prefix: str) -> str:
    """Return a path of this server to go on to: the first page if the given one leads elsewhere.

    Args:
        path: The path, as browsers see it.
        prefix: The path that the server is below.
    """
    if path is None or "\\" in path or not path.startswith(f"{prefix}/") or not _LOCAL.fullmatch(path):
        return f"{prefix}/"
    return path
