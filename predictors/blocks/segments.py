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


def joined(
    places: Sequence[Place], choices: tuple[int, ...], *, most: int, only_inner: bool = False
) -> list[list[Place]]:
    """Places in groups of neighbours that are told together.

    Args:
        places: in order.
        choices: options per gene.
        most: combinations of options of one group's genes.
        only_inner: places are joined only where a gene decides them and none outside.
    """
    last = {gene: i for i, place in enumerate(places) for gene in place.genes}
    first = {gene: i for i, place in reversed(list(enumerate(places))) for gene in place.genes}
    groups: list[list[Place]] = []
    start = 0
    while start < len(places):
        end, best = start + 1, start + 1
        genes = set(places[start].genes)
        while end < len(places):
            genes |= set(places[end].genes)
            if prod(choices[gene] for gene in genes) > most:
                break
            end += 1
            inner = any(start <= first[gene] < last[gene] == end - 1 for gene in genes)
            if inner or not only_inner:
                best = end
        groups.append(list(places[start:best]))
        start = best
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
        codes = np.where((place.codes != NONE) & ~of.empty[place.codes], place.codes, NONE)
        codes = codes.reshape([choices[gene] if gene in place.genes else 1 for gene in genes])
        entries = of.entries[codes]
        here = (codes != NONE)[..., None, None]
        step = np.where(here, entries != UNSEEN, np.eye(edges))
        adds = np.where((here & (entries != UNSEEN))[..., None], columns[entries], 0.0)
        sums = np.einsum("...efq,...fg->...egq", sums, step) + np.einsum("...ef,...fgq->...egq", moves, adds)
        moves = moves @ step
    return Segment(genes, moves, sums)
