"""What a block's kernels depend on besides the block: the coarsest that explains all compiled networks.

A runtime decides kernels and layouts by what lies next to a block. Between two blocks there is an edge: what is given
along it and what is wanted of it (`profiler.cuts`). What a block is given and what is wanted of it decide its kernels,
what it gives, and what it wants; so a chain of blocks is a finite automaton whose states are edges, learned from
compiled networks. How finely edges are told is found from the data: the coarsest level at which no two compiled
networks contradict each other and every network has one way through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.blocks.places import NONE, NotLocal
from profiler.cuts import LEVELS

Numbers = NDArray[np.int32]
Kernels = tuple[tuple[int, float], ...]
"""Numbers of kernels, and how often each; a fraction where it is a mean."""

#: Never seen.
UNSEEN = -1
#: What the first block is given and the last one is wanted for, which is no block.
START, END = "^", "$"
#: Most kinds of edges: sets of them are kept as bits.
MOST_EDGES = 10
#: The lowest edge of sets as bits; 0 of the empty one, which no way leads to.
LOWEST = np.array([max((bits & -bits).bit_length() - 1, 0) for bits in range(1 << MOST_EDGES)], dtype=np.int64)


@dataclass(frozen=True)
class Seen:
    """One block of a compiled network.

    Attributes:
        code: number of the block.
        given: by level, see `profiler.cuts.Use`.
        wanted: by level.
        kernels: how often it runs each kernel, by number.
    """

    code: int
    given: tuple[str, ...]
    wanted: tuple[str, ...]
    kernels: Kernels


@dataclass(frozen=True)
class Contexts:
    """The automaton.

    Attributes:
        level: how finely edges are told, see `profiler.cuts`.
        start: the edge before the first block.
        end: the edge behind the last one.
        entries: `(blocks, edges, edges)`: number of a block's kernels by the edges before and behind it, or `UNSEEN`.
        kernels: of each entry.
        empty: `(blocks,)`: blocks that the runtime deletes, whose neighbours touch.
    """

    level: int
    start: int
    end: int
    entries: Numbers
    kernels: tuple[Kernels, ...]
    empty: NDArray[np.bool_]

    def standing(self, codes: Numbers) -> Numbers:
        """Blocks, of any shape, with `NONE` for those that the runtime deletes."""
        return np.where((codes != NONE) & ~self.empty[codes], codes, NONE).astype(np.int32)

    def ways(self, codes: NDArray[np.int32]) -> NDArray[np.int64]:
        """How many ways lead through networks of blocks `(n, places)`, `(n,)`; 0 where a context was never seen."""
        edges = self.entries.shape[1]
        possible = (self.entries != UNSEEN).astype(np.int64)
        count = np.zeros((len(codes), edges), dtype=np.int64)
        count[:, self.start] = 1
        for column in self.standing(codes).T:
            live = column != NONE
            count[live] = np.einsum("ne,nef->nf", count[live], possible[column[live]])
        return np.asarray(count[:, self.end])


def learn(networks: Sequence[Sequence[Seen]], blocks: int, *, chained: bool) -> Contexts:
    """Learn from compiled networks.

    Args:
        networks: blocks of each, in order.
        blocks: number of distinct blocks.
        chained: whether each block reads the one before it and nothing else; else kernels must not depend on
            neighbours at all.

    Raises:
        NotLocal: kernels depend on more than what crosses to the neighbours.
    """
    said = ""
    for level in range(LEVELS if chained else 1):
        try:
            return _at(level, networks, blocks)
        except NotLocal as error:
            said = str(error)
    raise NotLocal(said)


def averaged(networks: Sequence[Sequence[Seen]], kinds: NDArray[np.int64]) -> Contexts:
    """Of each block at its place the mean of its kernels over compiled networks, where no context tells them exactly.

    A runtime that merges equal kernels of blocks far apart, or cells whose wiring is searched, leave no other way. A
    block that was never seen at a place has the mean of all places.

    Args:
        networks: blocks of each, numbered by place.
        kinds: `(blocks,)`, which are the same at several places.
    """
    here: dict[int, list[Kernels]] = {}
    anywhere: dict[int, list[Kernels]] = {}
    for network in networks:
        for seen in network:
            here.setdefault(seen.code, []).append(seen.kernels)
            anywhere.setdefault(int(kinds[seen.code]), []).append(seen.kernels)
    entries = np.full((len(kinds), 1, 1), UNSEEN, dtype=np.int32)
    means: list[Kernels] = []
    for code, kind in enumerate(kinds.tolist()):
        uses = here.get(code) or anywhere.get(kind)
        if uses:
            entries[code] = len(means)
            means.append(_mean(uses))
    return Contexts(0, 0, 0, entries, tuple(means), np.zeros(len(kinds), dtype=np.bool_))


def _mean(uses: Sequence[Kernels]) -> Kernels:
    total: Counter[int] = Counter()
    for kernels in uses:
        for kernel, count in kernels:
            total[kernel] += count  # type: ignore[assignment]
    return tuple((kernel, count / len(uses)) for kernel, count in sorted(total.items()))


def _at(level: int, networks: Sequence[Sequence[Seen]], blocks: int) -> Contexts:
    empty = _deleted(networks, blocks)
    kernels: dict[Kernels, int] = {}
    laws: dict[tuple[int, str, str], tuple[int, str, str]] = {}
    edges: dict[tuple[str, str], int] = {}
    chains = [[seen for seen in network if seen.kernels] for network in networks]
    for chain in chains:
        given = [START, *(seen.given[level] for seen in chain[1:]), END] if level else [""] * (len(chain) + 1)
        wanted = [START, *(seen.wanted[level] for seen in chain[:-1]), END] if level else given
        for at, seen in enumerate(chain):
            law = (kernels.setdefault(seen.kernels, len(kernels)), given[at + 1], wanted[at])
            _agree(laws, (seen.code, given[at], wanted[at + 1]), law)
        for edge in zip(given, wanted, strict=True):
            edges.setdefault(edge, len(edges))
    if len(edges) > MOST_EDGES:
        raise NotLocal(f"what crosses between blocks is of {len(edges)} kinds; {MOST_EDGES} are the most")
    entries = np.full((blocks, len(edges), len(edges)), UNSEEN, dtype=np.int32)
    for (code, given_in, wanted_out), (own, given_out, wanted_in) in laws.items():
        before, behind = edges.get((given_in, wanted_in)), edges.get((given_out, wanted_out))
        if before is not None and behind is not None:
            entries[code, before, behind] = own
    ends = (edges[START, START], edges[END, END]) if level else (0, 0)
    found = Contexts(level, *ends, entries, tuple(kernels), empty)
    for chain in chains:
        if found.ways(np.array([[seen.code for seen in chain]], dtype=np.int32))[0] != 1:
            raise NotLocal("more than one way of compiling a network agrees with all that was compiled")
    return found


def _deleted(networks: Sequence[Sequence[Seen]], blocks: int) -> NDArray[np.bool_]:
    found: dict[int, bool] = {}
    for network in networks:
        for seen in network:
            _agree(found, seen.code, not seen.kernels)
    empty = np.zeros(blocks, dtype=np.bool_)
    empty[[code for code, deleted in found.items() if deleted]] = True
    return empty


def _agree(known: dict[Any, Any], key: Any, value: Any) -> None:
    if known.setdefault(key, value) != value:
        raise NotLocal(f"compiled networks contradict each other: {key} has {known[key]} and {value}")


def counted(kernels: Iterable[int]) -> Kernels:
    """Kernels by number and how often each, in order."""
    return tuple(sorted(Counter(kernels).items()))
