"""The layout of graphs: layers from left to right, every node with room of its own, the same picture every time."""

import random
import subprocess
import sys
import time

import pytest

from instances.insight.layout import COLUMN, NODE_HEIGHT, NODE_WIDTH, Picture, lay_out


def somehow(count: int, seed: int, span: int = 30) -> list[tuple[int, int]]:
    """Edges of a graph without rings."""
    rng = random.Random(seed)
    return sorted({(rng.randint(max(0, n - span), n - 1), n) for n in range(1, count) for _ in range(2)})


def no_two_overlap(picture: Picture) -> bool:
    rows: dict[float, list[float]] = {}
    for x, y in picture.places:
        rows.setdefault(x, []).append(y)
    return all(
        b - a >= NODE_HEIGHT for ys in rows.values() for a, b in zip(sorted(ys), sorted(ys)[1:], strict=False)
    )


@pytest.mark.parametrize("seed", range(12))
def test_whoever_waits_stands_to_the_right(seed: int) -> None:
    edges = somehow(60, seed)
    picture = lay_out(60, edges)
    for (a, b), bends in zip(edges, picture.bends, strict=True):
        assert picture.places[a][0] < picture.places[b][0]
        xs = [
            picture.places[a][0] + NODE_WIDTH / 2,
            *(x for x, _ in bends),
            picture.places[b][0] + NODE_WIDTH / 2,
        ]
        assert xs == sorted(xs), "an edge that bends goes on to the right"
        assert len(xs) == round((xs[-1] - xs[0]) / COLUMN) + 1, "it bends once in each layer that it passes"
    assert no_two_overlap(picture)
    assert all(
        x + NODE_WIDTH <= picture.width and y + NODE_HEIGHT <= picture.height for x, y in picture.places
    )


def test_parts_alone_and_rings_are_drawn() -> None:
    picture = lay_out(7, [(0, 1), (2, 3), (4, 5), (5, 4), (6, 6), (0, 1)])
    assert len(set(picture.places)) == 7
    assert no_two_overlap(picture)
    assert lay_out(0, []).places == []


def test_the_same_graph_is_the_same_picture_in_every_process() -> None:
    program = (
        "from tests.insight.test_layout import somehow\nfrom instances.insight.layout import lay_out\n"
        "import hashlib\nprint(hashlib.sha256(repr(lay_out(80, somehow(80, 5))).encode()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_a_thousand_nodes_take_no_time() -> None:
    for edges in (
        somehow(1000, 1),
        [(0, n) for n in range(1, 1000)],
        [(n, n + 1) for n in range(999)],
        sorted(
            {
                (a * 100 + b, a * 100 + 100 + (b * 7 + c) % 100)
                for a in range(9)
                for b in range(100)
                for c in range(5)
            }
        ),
    ):
        begin = time.process_time()
        lay_out(1000, edges)
        assert time.process_time() - begin < 3
