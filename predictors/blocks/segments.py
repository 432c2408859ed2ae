"""Places in a row as one step: for all options of their genes, which edges they lead from and to, and what they add.

Places that share genes are cheaper told together, and so are places with few options each: a step then costs one
look-up for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from predictors.blocks.contexts import UNSEEN, Contexts
from predictors.blocks.places import NONE, Place

Floats = NDArray[np.float64]
Archs = NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """Some places in a row.

    Attributes:
        genes: that decide them, ascending.
        moves: `(*options of the genes, edges, edges)`: ways from the edge before to the edge behind, 0 or 1.
        sums: `(*options, edges, edges, q)`: what the blocks on that way add; 0 where there is none.
    """

    genes: tuple[int, ...]
    moves: Floats
    sums: Floats


def joined(places: Sequence[Place], choices: tuple[int, ...], *, most: int) -> list[list[Place]]:
    """Places in groups of neighbours, each as large as its genes have at most `most` combinations of options.

    Args:
        places: in order.
        choices: options per gene.
        most: combinations.
    """
    groups: list[list[Place]] = []
    genes: set[int] = set()
    for place in places:
        together = genes | set(place.genes)
        if groups and prod(choices[gene] for gene in together) <= most:
            groups[-1].append(place)
            genes = together
        else:
            groups.append([place])
            genes = set(place.genes)
    return groups


def enclosing(places: Sequence[Place], choices: tuple[int, ...], *, most: int) -> list[list[Place]]:
    """Places in groups of neighbours that enclose genes: those that decide several of the group, and none outside.

    Args:
        places: in order.
        choices: options per gene.
        most: combinations of options of one group's genes.
    """
    last = {gene: i for i, place in enumerate(places) for gene in place.genes}
    first = {gene: i for i, place in reversed(list(enumerate(places))) for gene in place.genes}
    groups: list[list[Place]] = []
    start = 0
    while start < len(places):
        end = start + 1
        for far in sorted({last[gene] + 1 for gene in places[start].genes if first[gene] == start}):
            genes = {gene for place in places[start:far] for gene in place.genes}
            if prod(choices[gene] for gene in genes) <= most:
                end = max(end, far)
        groups.append(list(places[start:end]))
        start = end
    return groups


def segment(group: Sequence[Place], of: Contexts, columns: Floats, choices: tuple[int, ...]) -> Segment:
    """Tell places in a row together.

    Args:
        group: the places.
        of: which kernels their blocks have.
        columns: `(entries, q)`, what they add.
        choices: options per gene.
    """
    genes = tuple(sorted({gene for place in group for gene in place.genes}))
    options = tuple(choices[gene] for gene in genes)
    edges = of.entries.shape[1]
    moves = np.broadcast_to(np.eye(edges), (*options, edges, edges))
    sums = np.zeros((*options, edges, edges, columns.shape[1]))
    for place in group:
        codes = of.standing(place.codes).reshape([choices[gene] if gene in place.genes else 1 for gene in genes])
        entries = of.entries[codes]
        here = (codes != NONE)[..., None, None]
        step = np.where(here, entries != UNSEEN, np.eye(edges))
        adds = np.where((here & (entries != UNSEEN))[..., None], columns[entries], 0.0)
        sums = np.einsum("...efq,...fg->...egq", sums, step) + np.einsum("...ef,...fgq->...egq", moves, adds)
        moves = moves @ step
    return Segment(genes, moves, sums)
