"""The rows with other libraries as a picture of bars, readable on light and on dark pages."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from benchmarks.neighbour_servers import NEIGHBOUR_SERVERS, OLD
from benchmarks.neighbours import ASGI_MIDDLEWARE, DECORATORS, OPENTELEMETRY
from benchmarks.row import OURS, Row, formatted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["bars_svg"]

WIDTH = 900  # pixels, as everything below
START = 200  # where bars start, right of their names
BARS = 560  # the most that a bar is long
TITLE, LINE, BAR, GAP = 26, 20, 13, 18  # heights
BEYOND = 1.8  # longer bars than this many times the mark are cut off

# All rows would be a picture that nobody looks at to its end.
_NEIGHBOURS = frozenset(
    {
        *ASGI_MIDDLEWARE,
        *DECORATORS,
        *(server.name for server in NEIGHBOUR_SERVERS),
        *("requests.Session.post", "requests.post", "BaggageSpanProcessor", f"{OPENTELEMETRY} baggage"),
    }
) - {OLD}

_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .at-most { fill: #9a6700 }
  .ours-value { font-weight: 600 }
  .ours { fill: #1a7f64 }
  .other { fill: #afb8c1 }
  .mark { stroke: #9a6700; stroke-width: 1.5; stroke-dasharray: 3 2 }
  .cut { stroke: #ffffff; stroke-width: 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .at-most { fill: #d29922 }
    .ours { fill: #2ea98a }
    .other { fill: #59636e }
    .mark { stroke: #d29922 }
    .cut { stroke: #0d1117 }
  }
"""


def bars_svg(rows: Sequence[Row]) -> str:
    """Return an SVG picture: a group of bars for each row with other libraries, with a mark at our limit."""
    elements: list[str] = []
    top = GAP
    for row in rows:
        if _NEIGHBOURS.isdisjoint(row.figures):
            continue
        elements += _group(row, top)
        top += TITLE + LINE * len(row.figures) + GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img">',
            "<title>What hl-sessions costs, beside the least possible and beside other libraries</title>",
            f"<style>{_STYLE}</style>",
            *elements,
            "</svg>",
            "",
        ]
    )


def _group(row: Row, top: int) -> Iterator[str]:
    longest = BEYOND * max(row.at_most, row.ours)
    longest = min(longest, 1.2 * max(*row.figures.values(), row.at_most))

    def length(figure: float) -> float:
        return BARS * min(max(figure, 0) / longest, 1)

    yield f'<text x="0" y="{top + BAR}" class="title">{escape(row.title)}</text>'
    yield (
        f'<text x="{WIDTH}" y="{top + BAR}" text-anchor="end" class="at-most">'
        f"at most {escape(row.at_most_text)}</text>"
    )
    top += TITLE
    for line, (name, figure) in enumerate(sorted(row.figures.items(), key=lambda item: item[0] != OURS)):
        y, kind = top + LINE * line, "ours" if name == OURS else "other"
        yield f'<text x="{START - 10}" y="{y + BAR - 2}" text-anchor="end">{escape(name)}</text>'
        yield (
            f'<rect x="{START}" y="{y}" width="{max(length(figure), 1):.1f}" height="{BAR}" rx="2"'
            f' class="{kind}"/>'
        )
        if figure > longest:
            yield f'<path d="M{START + BARS - 20} {y + BAR + 2} l8 -{BAR + 4}" class="cut"/>'
        value = escape(formatted(figure, row.unit))
        yield f'<text x="{WIDTH}" y="{y + BAR - 2}" text-anchor="end" class="{kind}-value">{value}</text>'
    bottom = top + LINE * (len(row.figures) - 1) + BAR
    yield f'<path d="M{START + length(row.at_most):.1f} {top - 4} V{bottom + 4}" class="mark"/>'
