"""What a network is made of, for many genomes at once: numbers of its layers, of what joins them, and of its end.

What `nas.spaces.nasbot.network.assembly` puts together, without doing it: each operation looks at one edge or layer of
all genomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.spaces.nasbot.network import FIRST_POOL, KINDS, SKIP

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Edges = Mapping[int, Mapping[int, Bools]]
"""By layer and by what it reads whether it does, `(n,)`."""

#: Readers of a layer that are told apart: none, one, two, more.
_READERS = 4


@dataclass(frozen=True)
class Layers:
    """A batch of `n` genomes, layer by layer: 0 is the input, the one after the last the output.

    Attributes:
        kinds: of each layer, `(n,)`.
        units: of each layer its place among the widths, `(n,)`.
        reads: by layer and source.
        first: option of the first fully connected layer, `(n,)`.
        second: of the second one.
    """

    kinds: Mapping[int, Ints]
    units: Mapping[int, Ints]
    reads: Edges
    first: Ints
    second: Ints


@dataclass(frozen=True)
class Sizes:
    """How many there are of what is numbered; parts are numbered one group after the other, and 0 is nothing.

    Attributes:
        steps: of widths.
        levels: of resolutions: the whole one, and each that halving gives.
        options: of a fully connected layer.
        terms: that a sum may have, and none.
    """

    steps: int
    levels: int
    options: int
    terms: int

    @property
    def joints(self) -> int:
        """Ways to join two layers: both widths and resolutions."""
        return (self.steps + 1) * self.steps * self.levels**2

    @property
    def meetings(self) -> int:
        """Kinds that meet, at a resolution, with something in between or without."""
        return (len(KINDS) + 1) ** 2 * self.levels * 2

    @property
    def layers(self) -> int:
        """Layers, by kind, width, resolution and readers."""
        return len(KINDS) * self.steps * self.levels * _READERS

    @property
    def sums(self) -> int:
        """Of what a layer reads, by width, resolution and terms."""
        return self.steps * self.levels * self.terms

    @property
    def maps(self) -> int:
        """Linear maps of what the output reads."""
        return self.steps * self.options * self.levels

    @property
    def total(self) -> int:
        """All of them, fully connected layers with the terms of their sum, and nothing."""
        ends = self.options**2 * self.terms
        return 1 + self.joints + self.meetings + self.layers + self.sums + self.maps + ends


def tally(layers: Layers, sizes: Sizes) -> Ints:
    """Numbers of what networks have, `(slots, n)`, in `0..sizes.total - 1`; 0 is nothing. Constant ones have none."""
    rows, end = len(layers.first), len(layers.kinds) + 1
    live, joined = _live(layers.reads, end, rows)
    joints = 1
    meetings = joints + sizes.joints
    of_layers = meetings + sizes.meetings
    sums = of_layers + sizes.layers
    maps = sums + sizes.sums
    ends = maps + sizes.maps
    nothing = np.zeros(rows, dtype=np.int64)
    kind, width, level = {0: nothing + len(KINDS)}, {0: nothing + sizes.steps, **layers.units}, {0: nothing}
    readers = [np.zeros(rows, dtype=np.int64) for _ in range(end)]
    for terms in joined.values():
        for source, there in terms.items():
            readers[source] += there
    found: list[Any] = []
    for node in range(1, end):
        terms = joined[node]
        at = nothing.copy()
        for source, there in terms.items():
            np.maximum(at, level[source] * there, out=at)
        own = layers.kinds[node]
        halves = (own >= FIRST_POOL) & (at < sizes.levels - 1)
        kind[node] = np.where((own >= FIRST_POOL) & ~halves, SKIP, own)
        level[node] = at + halves
        count = nothing.copy()
        for source, there in terms.items():
            number = ((width[source] * sizes.steps + width[node]) * sizes.levels + level[source]) * sizes.levels + at
            found.append((joints + number) * there)
            between = (width[source] != width[node]) | (level[source] != at)
            number = (kind[source] * (len(KINDS) + 1) + kind[node]) * sizes.levels + at
            found.append((meetings + number * 2 + between) * there)
            count += there
        number = (kind[node] * sizes.steps + width[node]) * sizes.levels + at
        found.append((of_layers + number * _READERS + np.minimum(readers[node], _READERS - 1)) * live[node])
        found.append((sums + (width[node] * sizes.levels + at) * sizes.terms + count) * live[node])
    count = nothing.copy()
    for source, there in joined[end].items():
        number = (width[source] * sizes.options + layers.first) * sizes.levels + level[source]
        found.append((maps + number) * there)
        count += there
    second = layers.second * (layers.first != 0)
    found.append((ends + (layers.first * sizes.options + second) * sizes.terms + count) * live[0])
    return np.stack(found)


def _live(reads: Edges, end: int, rows: int) -> tuple[list[Any], dict[int, dict[int, Bools]]]:
    """Layers on a path from the input to the output, and the edges between them."""
    come, go = ([np.zeros(rows, dtype=np.bool_) for _ in range(end + 1)] for _ in range(2))
    come[0] |= True
    go[end] |= True
    for node in range(1, end + 1):
        for source, there in reads[node].items():
            come[node] |= there & come[source]
    for node in reversed(range(1, end + 1)):
        for source, there in reads[node].items():
            go[source] |= there & go[node]
    live = [one & other for one, other in zip(come, go, strict=True)]
    return live, {
        node: {source: there & live[source] & live[node] for source, there in terms.items()}
        for node, terms in reads.items()
    }
