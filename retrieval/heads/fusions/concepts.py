"""A graph of classes and concepts from a file: `Sneakers,footwear` and `footwear,things to wear`, a line each.

A class is then not a number of its own but a node beside those it is like: what is learned of one reaches the others
over the concepts that they share, which helps those with few rows.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retrieval.errors import BadRequest
from retrieval.heads.propagation import spread
from retrieval.sources import texts

_SHARE = 0.5  # of what a node is that comes from its neighbors

Edges = list[tuple[str, str]]


def read(file: Path) -> Edges:
    """The edges of a csv without a header, two names a line; blank lines are passed over. Raises BadRequest."""
    try:
        lines = texts.read(file).splitlines()
        rows = [[part.strip() for part in row] for row in csv.reader(lines, strict=True)]
    except (OSError, csv.Error) as error:
        raise BadRequest(f"{file} cannot be read ({error}): check --set concepts=") from error
    for number, row in enumerate(rows, 1):
        if any(row) and (len(row) != 2 or not all(row)):
            raise BadRequest(f"{file}, line {number}: write two names, as in `Sneakers,footwear`")
    edges = [(row[0], row[1]) for row in rows if any(row)]
    if not edges:
        raise BadRequest(f"{file} has no edges: write `class,concept` lines, or leave out --set concepts=")
    return edges


def relation(edges: Edges, names: Sequence[str]) -> np.ndarray:
    """float32 (classes, nodes): each class as its share in every node, the classes first, then the concepts.

    Names are compared without regard to case. A class that no edge names is itself alone. Raises BadRequest where no
    edge names a class.
    """
    place = {name.casefold(): number for number, name in reversed(list(enumerate(names)))}
    if not any(name.casefold() in place for edge in edges for name in edge):
        raise BadRequest(f"no edge names a class: use names such as `{names[0]}` in the file of --set concepts=")
    nodes = len(names)
    for name in (name.casefold() for edge in edges for name in edge):
        if name not in place:
            place[name], nodes = nodes, nodes + 1
    both = {pair for a, b in edges for pair in _both_ways(place[a.casefold()], place[b.casefold()])}
    ways = np.array(sorted(both), np.int64).reshape(-1, 2).T
    return spread(np.eye(nodes), ways, _SHARE)[:, : len(names)].T.astype(np.float32)


def _both_ways(first: int, second: int) -> set[tuple[int, int]]:
    return set() if first == second else {(first, second), (second, first)}
