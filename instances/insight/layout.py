"""Where the nodes of a graph stand: layers from left to right, few crossings. Pure; equal graphs give equal pictures.

docs/adr/0023-graph-layout.md says by which library, and why with these steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fast_sugiyama import from_edges

# Edges beyond these are left out of the reckoning (they are drawn all the same): it must answer at once.
MOST_EDGES = 5_000
_SPACING = 100
# Distances between the middles of nodes, in pixels.
COLUMN, ROW = 250, 64
NODE_WIDTH, NODE_HEIGHT = 190, 46
_MARGIN = 40

Point = tuple[float, float]
# {node: (row, layer)} and edges of one connected part; nodes beyond the graph's own are where edges bend.
_Part = tuple[dict[int, Point], list[tuple[int, int]]]


@dataclass(frozen=True)
class Picture:
    """`places`: the left upper corner of each node. `bends`: points between the ends of each edge. All in pixels."""

    places: list[Point]
    bends: list[list[Point]]
    width: float
    height: float


def lay_out(count: int, edges: Sequence[tuple[int, int]]) -> Picture:
    """Places for the nodes 0..count-1, joined by `edges` (from, to). Rings are drawn, too; an edge to itself has no bends."""
    used = list(dict.fromkeys((a, b) for a, b in edges if a != b))[:MOST_EDGES]
    parts = _parts(count, used)
    placed = {node for positions, _ in parts for node in positions}
    # One without any edge is a part of its own.
    parts += [({node: (0.0, 0.0)}, []) for node in range(count) if node not in placed]
    parts.sort(key=lambda part: (-len(part[0]), min(part[0])))
    places: dict[int, Point] = {}
    below = 0.0
    for positions, _joined in parts:
        rows = [row for row, _ in positions.values()]
        top = max(layer for _, layer in positions.values())
        for node, (row, layer) in positions.items():
            x = _MARGIN + (top - layer) / _SPACING * COLUMN
            y = _MARGIN + below + (row - min(rows)) / _SPACING * ROW
            places[node] = (round(x, 1), round(y, 1))
        below += (max(rows) - min(rows)) / _SPACING * ROW + ROW * 1.25
    bends = _bends(parts, count, places)
    width = max((x for x, _ in places.values()), default=0.0) + NODE_WIDTH + _MARGIN
    return Picture(
        places=[places[node] for node in range(count)],
        bends=[bends.get(edge, []) for edge in edges],
        width=width,
        height=max((y for _, y in places.values()), default=0.0) + NODE_HEIGHT + _MARGIN,
    )


def _parts(count: int, edges: Sequence[tuple[int, int]]) -> list[_Part]:
    """Each connected part: {node: (row, layer)}, and its edges, cut where they bend."""
    if not edges:
        return []
    numbers = {node: place for place, node in enumerate(sorted({node for edge in edges for node in edge}))}
    back = list(numbers)
    most = count
    found = from_edges(
        [(numbers[a], numbers[b]) for a, b in edges],
        vertex_spacing=_SPACING,
        ranking_type="up",
        crossing_minimization="median",
        transpose=False,
        dummy_vertices=True,
        check_layout=False,
    )
    parts: list[_Part] = []
    for positions, _width, _height, joined in found:
        # Bends get numbers of their own, beyond those of all nodes and of other parts.
        def name(node: int | str, part: int = len(parts)) -> int:
            number = int(node)
            return back[number] if number < len(back) else most + part * 1_000_000 + number

        places = {name(node): (float(row), float(layer)) for node, (row, layer) in positions}
        parts.append((places, [(name(a), name(b)) for a, b in joined or ()]))
    return parts


def _bends(parts: list[_Part], count: int, places: dict[int, Point]) -> dict[tuple[int, int], list[Point]]:
    """{edge: where it bends}, followed from its beginning through nodes that are none of the graph's."""
    found: dict[tuple[int, int], list[Point]] = {}
    for _positions, joined in parts:
        following = {a: b for a, b in joined if a >= count}
        for a, b in joined:
            if a >= count or b < count:
                continue
            points: list[Point] = []
            at = b
            while at >= count and len(points) < count:
                x, y = places[at]
                points.append((x + NODE_WIDTH / 2, y + NODE_HEIGHT / 2))
                at = following.get(at, a)
            found[a, at] = points
    return found
