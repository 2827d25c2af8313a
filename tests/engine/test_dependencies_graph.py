"""Circles and layers among tasks."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instances.engine.dependencies import DependencyError, find_cycle, topological_layers

GRAPHS = st.dictionaries(st.integers(0, 6), st.lists(st.integers(0, 6), max_size=4))


def reachable(edges):
    """Floyd and Warshall: the pairs (a, b) with a way of one or more edges from a to b."""
    nodes = range(7)
    pairs = {(a, b) for a, targets in edges.items() for b in targets}
    for middle, a, b in product(nodes, nodes, nodes):
        if (a, middle) in pairs and (middle, b) in pairs:
            pairs.add((a, b))
    return pairs


@given(GRAPHS)
def test_circles_are_found_if_and_only_if_there_are_any(edges):
    pairs = reachable(edges)
    path = find_cycle(edges)
    assert (path is not None) == any((node, node) in pairs for node in range(7))
    for start in range(7):
        through = find_cycle(edges, start)
        assert (through is not None) == ((start, start) in pairs)
        assert through is None or through[0] == start
        for found in (path, through):
            if found:
                assert found[0] == found[-1]
                assert len(set(found)) == len(found) - 1
                assert all(b in edges[a] for a, b in pairwise(found))


@given(GRAPHS)
def test_layers_are_the_longest_ways_down(edges):
    if find_cycle(edges):
        with pytest.raises(DependencyError, match=r"There is a circle: \d.* -> \d"):
            topological_layers(edges)
        return
    layers = topological_layers(edges)
    depth = {node: index for index, layer in enumerate(layers) for node in layer}
    assert sum(map(len, layers)) == len(depth) == len(set(edges).union(*edges.values()))
    for node, index in depth.items():
        assert index == max((depth[target] + 1 for target in edges.get(node, ())), default=0)


def test_circles_name_the_path():
    edges = {"a": ["b"], "b": ["c"], "c": ["d", "a"], "d": []}
    assert find_cycle(edges) == ["a", "b", "c", "a"]
    assert find_cycle(edges, "c") == ["c", "a", "b", "c"]
    assert find_cycle(edges, "d") is None
    assert find_cycle({"a": ["a"]}) == find_cycle({"a": ["a"]}, "a") == ["a", "a"]
    assert find_cycle({}) is None
    assert find_cycle({}, "a") is None


def test_layers_keep_the_given_order():
    assert topological_layers({}) == []
    assert topological_layers(
        {"report": ["delays"], "delays": ["weather", "flights"], "flights": iter(())}
    ) == [
        ["weather", "flights"],
        ["delays"],
        ["report"],
    ]


def test_ten_thousand_tasks_deep():
    chain = {node: [node + 1] for node in range(10_000)}
    assert find_cycle(chain) is None
    assert topological_layers(chain) == [[node] for node in range(10_000, -1, -1)]
    chain[10_000] = [0]
    assert find_cycle(chain) == find_cycle(chain, 0) == [*range(10_001), 0]
