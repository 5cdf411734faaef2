"""What the scripts of the page ask for, and what readers do."""

from starlette.requests import Request


def is_from_script(request: Request) -> bool:
    """Tell whether a script of the page asks, which cannot do anything with a page in place of an answer."""
    return request.headers.get("x-requested-with") == "fetch"
