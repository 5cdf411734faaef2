"""The command ``hl-sessions doctor``, which examines an application, its API and its libraries."""

from typing import Final

SUMMARY: Final = "Say what is wrong with the API, an application or its libraries."
