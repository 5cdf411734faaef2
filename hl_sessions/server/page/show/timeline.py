"""The datapoints of a session as a tree, each at its place in time."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hl_sessions.server.page.queries.datapoints import Datapoint
from hl_sessions.server.page.show.formatting import format_seconds

WIDTH: Final = 1000
"""The width of the time line, in units of its pictures."""

_LEAST_WIDTH: Final = 4
"""The least width of a bar: a datapoint without a duration stays visible."""


@dataclass(frozen=True)
class Branch:
    """A datapoint in the tree.

    Args:
        datapoint: The datapoint.
        depth: The number of datapoints that it is nested in.
        offset: The start of its bar, from 0 to ``WIDTH``.
        width: The width of its bar.
        seconds: Its start, in seconds after that of the first datapoint.
    """

    datapoint: Datapoint
    depth: int
    offset: float
    width: float
    seconds: float


@dataclass(frozen=True)
class Timeline:
    """Datapoints as a tree, each followed by the datapoints nested in it.

    Args:
        branches: The datapoints.
        seconds: The time from the start of the first one to the end of the last one.
    """

    branches: Sequence[Branch]
    seconds: float

    @property
    def scale(self) -> list[str]:
        """The labels of its axis at equal distances, of which no two say the same."""
        for parts in (4, 2, 1):
            labels = ["0", *(format_seconds(self.seconds * part / parts) for part in range(1, parts + 1))]
            if len(set(labels)) == len(labels) and self.seconds:
                return labels
        return ["0"]

    @property
    def has_computed_costs(self) -> bool:
        """Whether the cost of some datapoint was computed, which takes more words."""
        costs = [branch.datapoint.cost for branch in self.branches]
        return any(cost is not None and cost.computed is not None for cost in costs)


def lay_out(datapoints: Sequence[Datapoint]) -> Timeline:
    """Build the tree of datapoints; they begin at their ``created_at`` and take their ``duration``.

    A datapoint whose parent is not among these is at the top.
    """
    if not datapoints:
        return Timeline([], 0)
    begin = min(datapoint["created_at"] for datapoint in datapoints)
    begins = {datapoint["id"]: (datapoint["created_at"] - begin).total_seconds() for datapoint in datapoints}
    seconds = max(begins[datapoint["id"]] + _duration(datapoint) for datapoint in datapoints)
    scale = WIDTH / seconds if seconds else 0
    children_of: dict[str | None, list[Datapoint]] = defaultdict(list)
    for datapoint in datapoints:
        parent_id = datapoint["parent_id"]
        children_of[parent_id if parent_id in begins else None].append(datapoint)

    branches = []
    # Without recursion, because the depth has no limit.
    pending = [(root, 0) for root in reversed(children_of[None])]
    while pending:
        datapoint, depth = pending.pop()
        pending.extend((child, depth + 1) for child in reversed(children_of[datapoint["id"]]))
        width = max(_duration(datapoint) * scale, _LEAST_WIDTH)
        started = begins[datapoint["id"]]
        branches.append(
            Branch(
                datapoint=datapoint,
                depth=depth,
                offset=min(started * scale, WIDTH - _LEAST_WIDTH),
                width=width,
                seconds=started,
            )
        )
    return Timeline(branches, seconds)


def _duration(datapoint: Datapoint) -> float:
    # The protocol allows any number.
    return max(datapoint["duration"] or 0, 0)
