"""What a network is made of, for many genomes at once: numbers of its layers, of what joins them, and of its end.

As `nas.spaces.nasbot.network.assembly`, without making it: each row of a batch is looked at by one operation, edge by
edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.spaces.nasbot.network import FIRST_POOL, KINDS, SKIP

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Terms of a sum, and readers of a value, that are told apart: none, one, two, more.
_MANY = 4


@dataclass(frozen=True)
class Genes:
    """A batch of genomes, by node: 0 is the input, the last the output; `n` rows.

    Attributes:
        kinds: `(n,)` of each layer, from 1.
        units: `(n,)` likewise, places among the widths.
        reads: by target and source whether the one reads the other, `(n,)`.
        full: `(n, 2)`, options of the fully connected layers.
    """

    kinds: dict[int, Ints]
    units: dict[int, Ints]
    reads: dict[int, dict[int, Bools]]
    full: Ints


@dataclass(frozen=True)
class Sizes:
    """How many there are of what is numbered.

    Attributes:
        steps: of widths.
        levels: of resolutions: the whole one, and each that halving gives.
        options: of a fully connected layer.
    """

    steps: int
    levels: int
    options: int

    @property
    def edges(self) -> int:
        """Ways to join two layers: widths, resolutions, and whether it is the first term of the sum."""
        return (self.steps + 1) * self.steps * self.levels**2 * 2

    @property
    def meetings(self) -> int:
        """What reads what, where nothing comes between, and else that something does."""
        return (len(KINDS) + 1) * (len(KINDS) + 1) * 2 * self.levels

    @property
    def layers(self) -> int:
        """Layers, by kind, width, resolution, terms and readers."""
        return len(KINDS) * self.steps * self.levels * _MANY**2

    @property
    def ends(self) -> int:
        """Linear maps of what the output reads."""
        return self.steps * self.options * self.levels * 2

    @property
    def total(self) -> int:
        """All of them, and 0 for nothing."""
        return 1 + self.edges + self.meetings + self.layers + self.ends + self.options**2


def tally(genes: Genes, sizes: Sizes) -> Ints:
    """Numbers of what networks have, `(slots, n)`, in `0..sizes.total - 1`; 0 is nothing. Constant networks have none."""
    layers = len(genes.kinds)
    nodes, rows = layers + 2, len(genes.full)
    live, joined = _live(genes.reads, nodes, rows)
    edges, meetings = 1, 1 + sizes.edges
    of_layers = meetings + sizes.meetings
    ends = of_layers + sizes.layers
    found: list[Any] = []
    level = {0: np.zeros(rows, dtype=np.int64)}
    width = {0: np.full(rows, sizes.steps)} | genes.units
    kind = {0: np.full(rows, len(KINDS))}
    readers = {
        node: np.minimum(sum(one[node].astype(np.int64) for one in joined.values() if node in one), _MANY - 1)
        for node in range(1, nodes - 1)
    }
    first_full = genes.full[:, 0]
    for node in range(1, nodes):
        terms = joined[node]
        at = np.zeros(rows, dtype=np.int64)
        for source, there in terms.items():
            np.maximum(at, np.where(there, level[source], 0), out=at)
        count = np.zeros(rows, dtype=np.int64)
        for source, there in terms.items():
            more = (count > 0).astype(np.int64)
            if node == nodes - 1:
                number = ((width[source] * sizes.options + first_full) * sizes.levels + level[source]) * 2 + more
                found.append(np.where(there, ends + number, 0))
            else:
                number = (width[source] * sizes.steps + width[node]) * sizes.levels + level[source]
                found.append(np.where(there, edges + (number * sizes.levels + at) * 2 + more, 0))
            count += there
        own = genes.kinds.get(node)
        if own is None:
            kind[node], level[node] = np.full(rows, len(KINDS)), at
        else:
            pool = own >= FIRST_POOL
            halves = pool & (at < sizes.levels - 1)
            kind[node] = np.where(pool & ~halves, SKIP, own)
            level[node] = at + halves
            number = ((kind[node] * sizes.steps + width[node]) * sizes.levels + at) * _MANY + np.minimum(
                count, _MANY - 1
            )
            found.append(np.where(live[node], of_layers + number * _MANY + readers[node], 0))
        for source, there in terms.items():
            between = (
                (width[source] != width[node]) | (level[source] != at)
                if own is not None
                else np.zeros(rows, dtype=bool)
            )
            number = ((kind[source] * (len(KINDS) + 1) + kind[node]) * 2 + between) * sizes.levels + at
            found.append(np.where(there, meetings + number, 0))
    full = ends + sizes.ends + first_full * sizes.options + genes.full[:, 1] * (first_full != 0)
    found.append(np.where(live[0], full, 0))
    return np.stack(found)


def _live(reads: dict[int, dict[int, Bools]], nodes: int, rows: int) -> tuple[list[Any], dict[int, dict[int, Bools]]]:
    """Nodes on a path from the input to the output, and the edges between them."""
    come: list[Any] = [np.ones(rows, dtype=np.bool_)]
    for node in range(1, nodes):
        reached = np.zeros(rows, dtype=np.bool_)
        for source, there in reads[node].items():
            reached |= there & come[source]
        come.append(reached)
    go: list[Any] = [np.zeros(rows, dtype=np.bool_) for _ in range(nodes)]
    go[-1] |= True
    for node in reversed(range(1, nodes)):
        for source, there in reads[node].items():
            go[source] |= there & go[node]
    live = [one & other for one, other in zip(come, go, strict=True)]
    joined = {
        node: {source: there & live[source] & live[node] for source, there in reads[node].items()}
        for node in range(1, nodes)
    }
    return live, joined
