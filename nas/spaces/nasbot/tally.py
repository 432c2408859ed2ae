"""What a network is made of, for many genomes at once: numbers of its layers, of what joins them, and of its end.

What `nas.spaces.nasbot.network.assembly` puts together, without doing it: each operation looks at one edge or layer of
all genomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.spaces.nasbot.network import FIRST_POOL, KINDS, SKIP

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Edges = Mapping[int, Mapping[int, Bools]]
"""By layer and by what it reads whether it does, `(n,)`."""

#: Readers of a layer that are told apart: none, one, two, and more.
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
    """

    steps: int
    levels: int
    options: int

    @property
    def groups(self) -> dict[str, int]:
        """How many parts each group has.

        `projections` from width to width at a resolution; `means` of a width from one resolution to another, one for
        all that read it; `meetings` of kinds at a resolution, with something in between or without; `layers` by kind,
        width and resolution; `readers` of a kind at a resolution; `sums` by width and resolution; linear `maps` of what
        the output reads, by width, first option and resolution; `ends`: both options; `totals`: sums of maps.
        """
        kinds = len(KINDS) + 1
        return {
            "projections": (self.steps + 1) * self.steps * self.levels,
            "means": (self.steps + 1) * self.levels**2,
            "meetings": kinds**2 * self.levels * 2,
            "layers": kinds * self.steps * self.levels,
            "readers": kinds * self.levels * _READERS,
            "sums": self.steps * self.levels,
            "maps": self.steps * self.options * self.levels,
            "ends": self.options**2,
            "totals": self.options,
        }

    @property
    def starts(self) -> dict[str, int]:
        """The first number of each group."""
        return dict(zip(self.groups, accumulate(self.groups.values(), initial=1), strict=False))

    @property
    def total(self) -> int:
        """All of them, and nothing."""
        return 1 + sum(self.groups.values())


def tally(layers: Layers, sizes: Sizes) -> tuple[Ints, NDArray[np.float64]]:
    """Numbers of what networks have, `(slots, n)`, in `0..sizes.total - 1`, and how often; constant ones have none."""
    rows, end = len(layers.first), len(layers.kinds) + 1
    live, joined = _live(layers.reads, end, rows)
    nothing, levels, kinds = np.zeros(rows, dtype=np.int64), sizes.levels, len(KINDS) + 1
    kind, width, level = {0: nothing + len(KINDS)}, {0: nothing + sizes.steps, **layers.units}, {0: nothing}
    readers, read_at = ([nothing.copy() for _ in range(end)] for _ in range(2))
    for terms in joined.values():
        for source, there in terms.items():
            readers[source] += there
    found, times, starts = list[Any](), list[Any](), sizes.starts

    def has(group: str, number: Any, there: Any, often: Any = None) -> None:
        found.append((starts[group] + number) * there)
        times.append(there if often is None else often)

    for node in range(1, end):
        terms, at, count = joined[node], nothing.copy(), nothing.copy()
        for source, there in terms.items():
            np.maximum(at, level[source] * there, out=at)
        own = layers.kinds[node]
        halves = (own >= FIRST_POOL) & (at < levels - 1)
        kind[node] = np.where((own >= FIRST_POOL) & ~halves, SKIP, own)
        level[node] = at + halves
        for source, there in terms.items():
            projected, shrunk = width[source] != width[node], level[source] != at
            has("projections", (width[source] * sizes.steps + width[node]) * levels + at, there & projected)
            met = (kind[source] * kinds + kind[node]) * levels + at
            has("meetings", met * 2 + (projected | shrunk), there)
            read_at[source] |= there.astype(np.int64) << at
            count += there
        has("layers", (kind[node] * sizes.steps + width[node]) * levels + at, live[node])
        has("readers", (kind[node] * levels + at) * _READERS + np.minimum(readers[node], _READERS - 1), live[node])
        has("sums", width[node] * levels + at, live[node], np.maximum(count - 1, 0))
    count = nothing.copy()
    for source in range(end):
        for lower in range(1, levels):
            there = (read_at[source] >> lower & 1).astype(np.bool_) & (level[source] < lower)
            has("means", (width[source] * levels + level[source]) * levels + lower, there)
    for source, there in joined[end].items():
        has("maps", (width[source] * sizes.options + layers.first) * levels + level[source], there)
        count += there
    has("ends", layers.first * sizes.options + layers.second * (layers.first != 0), live[0])
    has("totals", layers.first, live[0], np.maximum(count - 1, 0))
    return np.stack(found), np.stack(times, dtype=np.float64)


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
