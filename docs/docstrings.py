"""Makes Markdown of the docstrings, which have code blocks and references as Sphinx has them.

Griffe calls this for the API reference, as ``mkdocs.yml`` says.
"""

import re
from textwrap import dedent, indent
from typing import Any, Final

import griffe

_CODE_BLOCK: Final = re.compile(r"^( *)\.\. code-block:: (\w+)\n\n((?:\1 +.*\n?|\n)+)", re.MULTILINE)
_RETURNED: Final = re.compile(r"^Returns:\n +", re.MULTILINE)
_REFERENCE: Final = re.compile(r":\w+:`(?:~[\w.]*\.(?=\w+`))?([^`]+)`")


class Docstrings(griffe.Extension):
    """Reads docstrings as Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Put Markdown in the place of a docstring before its sections are read."""
        if obj.docstring is not None:
            text = _CODE_BLOCK.sub(_fenced, obj.docstring.value)
            if isinstance(obj, griffe.Function) and obj.returns is not None:
                # Without it, Griffe takes for the type what stands before the first colon.
                text = _RETURNED.sub(rf"\g<0>{obj.returns}: ", text)
            obj.docstring.value = _REFERENCE.sub(r"`\1`", text)


def _fenced(block: re.Match[str]) -> str:
    margin, language, code = block.groups()
    return indent(f"```{language}\n{dedent(code).strip()}\n```\n\n", margin)
