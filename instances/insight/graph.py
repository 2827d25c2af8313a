"""The shape of a graph, as `console/graph.js` draws it and the API gives it. docs/graph-format.md describes the JSON."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext, gettext_noop

from instances.engine.states import LABELS, State
from instances.insight.layout import NODE_HEIGHT, NODE_WIDTH, lay_out


@dataclass(frozen=True)
class Mark:
    """How a state looks: text (to be translated), tone (a colour of the console) and a character, which any font has."""

    text: str
    tone: str
    mark: str


MARKS: dict[str, Mark] = {
    state.value: Mark(LABELS[state], tone, mark)
    for state, tone, mark in (
        (State.WAIT_EVENT, "violet", "◔"),
        (State.WAIT_UPSTREAM, "slate", "⋯"),
        (State.WAIT_RUN, "cyan", "◷"),
        (State.RUNNING, "blue", "▶"),
        (State.TERMINATING, "orange", "■"),
        (State.FAILED_RETRY, "amber", "↻"),
        (State.FAILED, "red", "✕"),
        (State.SUCCESS, "green", "✓"),
        (State.SKIPPED, "grey", "↷"),
    )
}
MISSING = "missing"
LOCKED = "locked"
MARKS |= {
    MISSING: Mark(gettext_noop("Not generated yet"), "grey", "?"),
    LOCKED: Mark(gettext_noop("Another project"), "grey", "⊘"),
}


@dataclass
class Node:
    """`key` is unique in the graph. `level`: steps from the focus, upstream negative. `more_up`, `more_down`: neighbours
    that are not in the graph (counted up to a cap). `operations`: kinds that the reader may do on it now. `address`: its
    page, in place of the graph's `links.open`. `facts`: (label, value) for the card. Where one picks nodes, `root` is where it
    begins, and what cannot be picked has `why_not`."""

    key: str
    title: str
    state: str
    id: int | None = None
    subtitle: str = ""
    level: int = 0
    more_up: int = 0
    more_down: int = 0
    locked: bool = False
    frozen: bool = False
    address: str = ""
    operations: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    pick: bool = False
    root: bool = False
    why_not: str = ""
    x: float = 0
    y: float = 0


@dataclass
class Arrow:
    """From what comes first to what comes after. `state`: open, met, removed, waived, event or plain."""

    source: str
    target: str
    state: str = "plain"
    title: str = ""
    bends: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Graph:
    """`note`: what is left out, for people; empty if nothing is. `links`: patterns of addresses, with {id} and {kind}."""

    nodes: list[Node]
    edges: list[Arrow]
    focus: str = ""
    note: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    marks: Mapping[str, Mark] = field(default_factory=lambda: MARKS)
    width: float = 0
    height: float = 0

    def place(self) -> "Graph":
        """Gives every node its place and every edge its bends; itself."""
        number = {node.key: place for place, node in enumerate(self.nodes)}
        self.edges = [edge for edge in self.edges if edge.source in number and edge.target in number]
        picture = lay_out(
            len(self.nodes), [(number[edge.source], number[edge.target]) for edge in self.edges]
        )
        for node, (x, y) in zip(self.nodes, picture.places, strict=True):
            node.x, node.y = x, y
        for edge, bends in zip(self.edges, picture.bends, strict=True):
            edge.bends = bends
        self.width, self.height = picture.width, picture.height
        return self

    def as_json(self) -> dict[str, Any]:
        used = {node.state for node in self.nodes}
        return {
            "focus": self.focus,
            "note": self.note,
            "width": self.width,
            "height": self.height,
            "node": {"width": NODE_WIDTH, "height": NODE_HEIGHT},
            "states": {
                state: {"text": gettext(mark.text), "tone": mark.tone, "mark": mark.mark}
                for state, mark in self.marks.items()
                if state in used
            },
            "links": dict(self.links),
            "kinds": {kind: dict(looks) for kind, looks in self.kinds.items()},
            "nodes": [_node(node) for node in self.nodes],
            "edges": [
                {
                    "from": edge.source,
                    "to": edge.target,
                    "state": edge.state,
                    "title": edge.title,
                    "bends": [list(point) for point in edge.bends],
                }
                for edge in self.edges
            ],
        }


def _node(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {
        "key": node.key,
        "id": node.id,
        "title": node.title,
        "subtitle": node.subtitle,
        "state": node.state,
        "level": node.level,
        "x": node.x,
        "y": node.y,
    }
    # What is empty is left out: a thousand nodes are sent at once.
    rest = {
        "more_up": node.more_up,
        "more_down": node.more_down,
        "locked": node.locked,
        "frozen": node.frozen,
        "address": node.address,
        "operations": list(node.operations),
        "facts": [list(fact) for fact in node.facts],
        "pick": node.pick,
        "root": node.root,
        "why_not": node.why_not,
    }
    return found | {name: value for name, value in rest.items() if value}


def levels_from(focus: str, edges: Iterable[Arrow]) -> dict[str, int]:
    """{key: steps from the focus}, upstream negative, by the shortest way; only what can be reached in one direction."""
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for edge in edges:
        above.setdefault(edge.target, []).append(edge.source)
        below.setdefault(edge.source, []).append(edge.target)
    found = {focus: 0}
    for joined, sign in ((above, -1), (below, 1)):
        front, step = [focus], 0
        while front:
            step += sign
            following = [key for near in front for key in joined.get(near, ()) if key not in found]
            front = list(dict.fromkeys(following))
            found |= dict.fromkeys(front, step)
    return found


def moment(value: dt.datetime | None) -> str:
    """ISO, or empty."""
    return value.isoformat() if value else ""
