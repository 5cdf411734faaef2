"""The report for a terminal, without secrets."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from typing import TYPE_CHECKING, Final

from hl_sessions.doctor.findings import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hl_sessions.doctor.findings import Finding

__all__ = ["Report"]

WIDTH: Final = 79
_INDENT: Final = " " * 10
_COLOURS: Final = {Mark.OK: 32, Mark.WARNING: 33, Mark.WRONG: 31}
_LONGEST_TEXT: Final = 400  # characters
_SHORTEST_SECRET: Final = 6  # characters; a shorter value would hide half of the page
_NAME_OF_SECRET: Final = re.compile(r"KEY|SECRET|TOKEN|PASSWORD")
_IN_URL: Final = re.compile(r"(?<=://)[^\s'\"]*@")
_IN_QUERY: Final = re.compile(
    r"([?&][^=\s&]*(?:password|secret|token|key)[^=\s&]*=)[^&\s'\"]+", re.IGNORECASE
)
# As in a library's message about its connection to a database.
_ASSIGNED: Final = re.compile(
    r"((?:password|passwd|pwd|secret|token|api_?key)\s*=\s*)(?:'[^']*'|\"[^\"]*\"|[^&\s'\",;)]+)",
    re.IGNORECASE,
)


class Report:
    """Prints findings at once, and counts them.

    Args:
        is_coloured: whether marks have colours.
    """

    def __init__(self, *, is_coloured: bool) -> None:
        self._is_coloured = is_coloured
        self._counts = dict.fromkeys(Mark, 0)
        self._secrets = {
            value
            for name, value in os.environ.items()
            if _NAME_OF_SECRET.search(name.upper()) and len(value) >= _SHORTEST_SECRET
        }

    def hide(self, secret: str) -> None:
        """Never show this text."""
        if secret:
            self._secrets.add(secret)

    def write(self, line: str) -> None:
        """Print a line at once, with ``?`` for characters that the terminal does not know."""
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(line.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stdout.flush()

    def add(self, title: str, findings: Iterable[Finding]) -> None:
        """Print a section, unless it is empty."""
        for number, finding in enumerate(findings):
            if number == 0:
                self.write(f"\n{self._shown(title)}")
            self._counts[finding.mark] += 1
            for line in self._lines(finding):
                self.write(line)

    def end(self) -> int:
        """Print the sum, and return the exit code."""
        wrong, warnings = (self._counts[mark] for mark in (Mark.WRONG, Mark.WARNING))
        if wrong or warnings:
            self.write(f"\n{wrong} wrong, {warnings} {'warning' if warnings == 1 else 'warnings'}.")
        else:
            self.write("\nAll is well.")
        return int(wrong > 0)

    def _lines(self, finding: Finding) -> Iterator[str]:
        mark = f"{finding.mark.value:7}"
        if self._is_coloured and finding.mark in _COLOURS:
            mark = f"\x1b[{_COLOURS[finding.mark]}m{mark}\x1b[0m"
        first, *others = _wrapped(self._shown(finding.text))
        yield f"  {mark} {first}"
        yield from (f"{_INDENT}{line}" for line in others)
        if finding.remedy:
            yield from (f"{_INDENT}{line}" for line in _wrapped(f"-> {self._shown(finding.remedy)}"))

    def _shown(self, text: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        text = _ASSIGNED.sub(r"\1***", _IN_QUERY.sub(r"\1***", _IN_URL.sub("***@", text)))
        # Control characters would act on the terminal.
        shown = "".join(character if character.isprintable() else " " for character in text)
        return shown if len(shown) <= _LONGEST_TEXT else f"{shown[:_LONGEST_TEXT]}..."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - len(_INDENT), break_on_hyphens=False)
