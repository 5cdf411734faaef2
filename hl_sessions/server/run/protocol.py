"""Chooses the HTTP parser: one in C, or one in Python where that is not available, as on PyPy."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The parser in Python has all the members that are used here.
    from uvicorn.protocols.http.h11_impl import H11Protocol as HTTPProtocol
else:
    try:
        from hl_sessions.server.run.parsing import ParsingInC as HTTPProtocol
    except ModuleNotFoundError:
        from uvicorn.protocols.http.h11_impl import H11Protocol as HTTPProtocol

__all__ = ["HTTPProtocol"]
