"""Renders untrusted Markdown as HTML without scripts, images or styles."""

from collections.abc import Sequence
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

_OUTERMOST_HEADING: Final = 4
"""The level of top headings in a text; the page has headings of its own above them."""


class _Renderer(RendererHTML):
    def link_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        # Linked sites do not learn the address of the page.
        tokens[index].attrSet("rel", "noopener noreferrer nofollow")
        return self.renderToken(tokens, index, options, env)

    def heading_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        level = int(tokens[index].tag[1:]) + _OUTERMOST_HEADING - 1
        tokens[index].tag = f"h{min(level, 6)}"
        return self.renderToken(tokens, index, options, env)

    heading_close = heading_open

    def th_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        # The alignment of a column is an inline style, which the page's policy forbids.
        tokens[index].attrs.pop("style", None)
        return self.renderToken(tokens, index, options, env)

    td_open = th_open


def _parser() -> MarkdownIt:
    # Without HTML. Links of the kinds javascript, vbscript, file and data stay text. Images would tell other
    # hosts about the reader.
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True}, renderer_cls=_Renderer)
    return parser.enable(["table", "strikethrough"]).disable("image")


_PARSER: Final[Any] = _parser()


def render_markdown(text: str) -> Markup:
    """Return the HTML of Markdown text; HTML in it is shown as text."""
    # Safe by the options of the parser; the tests try them in a browser.
    return Markup(_PARSER.render(text))  # noqa: S704
