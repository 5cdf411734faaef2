"""What reads HTTP: a parser in C, or, where that cannot be had, as on PyPy, one in Python that is like it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The other one has all of it that is used here.
    from uvicorn.protocols.http.h11_impl import H11Protocol as HTTPProtocol
else:
    try:
        from hl_sessions.server.run.parsing import ParsingInC as HTTPProtocol
    except ModuleNotFoundError:
        from uvicorn.protocols.http.h11_impl import H11Protocol as HTTPProtocol

__all__ = ["HTTPProtocol"]
