"""Which block stands at which place of a space's networks, told by the few genes that decide it.

A place is a name of a block. Its genes are found by changing single genes of sampled networks, and what stands there
for each of their options by building such networks: nothing is compiled, and nothing is known of the space but its
`assembly`. Networks that the table did not learn from are held against it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from profiler.assembly import Assembly
from profiler.block_traces import Shapes
from profiler.compiling import block_shapes

Archs = NDArray[np.int64]
Codes = NDArray[np.int32]

#: No block stands there.
NONE = -1
#: Networks that genes are looked for around, that what is found is held against, and that a combination is tried in.
_BASES, _POOL, _TRIED = 12, 400, 12
#: Most combinations of options of the genes of one place.
_LARGEST = 40_000
#: Times that genes which were overlooked are looked for.
_ROUNDS = 20


class SampledSpace(Protocol):
    """What is needed of a space; those of `nas.spaces` have it."""

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""

    def sample(self, n: int, rng: np.random.Generator) -> Archs:
        """`n` valid genomes, `(n, d)`."""

    def canonical(self, archs: Archs) -> Archs:
        """One representative for each network."""

    def is_valid(self, archs: Archs) -> NDArray[np.bool_]:
        """Which genomes have a function."""

    def assembly(self, arch: Archs) -> Assembly:
        """The network as blocks."""


class NotLocal(Exception):
    """What stands or happens at a place depends on more than its own genes and its neighbours; it says where."""


class NotPlaced(NotLocal):
    """No few genes tell what stands at a place, whatever kernels it has and whatever these cost."""


@dataclass(frozen=True)
class Place:
    """One place.

    Attributes:
        name: of the block that stands there.
        genes: that decide which, ascending; none where it is always the same.
        codes: one axis for each of them: the block's number, or `NONE`.
    """

    name: str
    genes: tuple[int, ...]
    codes: Codes


@dataclass(frozen=True)
class Places:
    """All places of a space, in the order in which their blocks run.

    Attributes:
        blocks: what stands at places, by number: the block's key and the shapes that it reads.
        places: in order.
        chained: every block reads the one before it, and nothing else.
    """

    blocks: tuple[str, ...]
    places: tuple[Place, ...]
    chained: bool

    def codes(self, archs: Archs) -> Codes:
        """What stands where in genomes `(n, d)`: `(n, places)`."""
        found = np.empty((len(archs), len(self.places)), dtype=np.int32)
        for column, place in enumerate(self.places):
            found[:, column] = place.codes[tuple(archs[:, gene] for gene in place.genes)]
        return found


def apart(found: Places) -> tuple[Places, NDArray[np.int64]]:
    """The same places, with blocks that are others at each; and of each block its number before, `(blocks,)`."""
    kinds: list[int] = []
    places = []
    for place in found.places:
        here, codes = np.unique(place.codes, return_inverse=True)
        numbers = np.where(here == NONE, NONE, len(kinds) + np.cumsum(here != NONE) - 1).astype(np.int32)
        kinds += [code for code in here.tolist() if code != NONE]
        places.append(replace(place, codes=numbers[codes].reshape(place.codes.shape)))
    blocks = tuple(found.blocks[code] for code in kinds)
    return Places(blocks, tuple(places), found.chained), np.array(kinds, dtype=np.int64)


@dataclass
class _Book:
    """What was built, so that nothing is built twice."""

    space: SampledSpace
    shapes: Shapes = field(default_factory=block_shapes)
    numbers: dict[str, int] = field(default_factory=dict)
    rows: dict[bytes, dict[str, int]] = field(default_factory=dict)
    chained: bool = True

    def read(self, arch: Archs) -> Mapping[str, int]:
        """Numbers of blocks by their names in the network of a canonical genome `(d,)`."""
        key = arch.tobytes()
        if key not in self.rows:
            assembly = self.space.assembly(arch)
            before = "input"
            row = {}
            for block, shapes in zip(assembly.blocks, self.shapes.inputs(assembly), strict=True):
                row[block.name] = self.numbers.setdefault(text(block.key, shapes), len(self.numbers))
                self.chained &= block.inputs == (before,)
                before = block.name
            self.rows[key] = row
        return self.rows[key]


@lru_cache(maxsize=1 << 16)
def text(key: str, shapes: tuple[tuple[int, ...], ...]) -> str:
    """A block with the shapes that it reads, as one line."""
    return f"{key}({';'.join('x'.join(map(str, shape)) for shape in shapes)})"


def key_of(block: str) -> str:
    """The key in what `text` made."""
    return block.rpartition("(")[0]


def surroundings(choices: tuple[int, ...], pool: Archs) -> Archs:
    """Genomes `(k, d)` that options of some genes are tried in: of one option everywhere, then those of a pool.

    Where a layer can only be left out if those behind it are, the last option everywhere is such a genome.
    """
    most = np.array(choices, dtype=np.int64)
    return np.concatenate([np.minimum(np.arange(most.max())[:, None], most - 1), pool])


def learn(space: SampledSpace, seed: int = 0) -> Places:
    """Find the places of a space.

    Args:
        space: whose networks are looked at.
        seed: of the samples.

    Raises:
        NotPlaced: what stands at a place depends on too many genes, or no order of places holds for all networks.
    """
    rng = np.random.default_rng([seed, len(space.choices)])
    pool = np.unique(space.canonical(space.sample(_POOL, rng)), axis=0)
    rng.shuffle(pool)
    book = _Book(space)
    rows = [book.read(arch) for arch in pool]
    names = _order(rows)
    genes: dict[str, set[int]] = {name: set() for name in names}
    for base in pool[:_BASES]:
        here = book.read(base)
        for arch, gene in _changed(space, base):
            there = book.read(arch)
            for name in names:
                if here.get(name, NONE) != there.get(name, NONE):
                    genes[name].add(gene)
    for name in names:
        _require_few(space, name, genes[name])
    for name in names:
        _complete(book, pool, rows, name, genes[name])
        _require_few(space, name, genes[name])
    places = tuple(Place(name, tuple(sorted(genes[name])), _table(book, pool, name, genes[name])) for name in names)
    found = Places(tuple(book.numbers), places, book.chained)
    _hold(book, found, space.sample(_POOL // 2, rng))
    return found


def _hold(book: _Book, found: Places, archs: Archs) -> None:
    """Hold the places against genomes `(n, d)` as they come, those that are not canonical too.

    Raises:
        NotPlaced: a network has other blocks, or others' order.
    """
    for arch, codes in zip(archs, found.codes(archs), strict=True):
        row = book.read(book.space.canonical(arch[None])[0])
        if list(row.values()) != [code for code in codes.tolist() if code != NONE]:
            raise NotPlaced(f"genome {arch.tolist()} has other blocks than its genes tell one by one")


def _changed(space: SampledSpace, base: Archs) -> list[tuple[Archs, int]]:
    """Canonical genomes that differ from a canonical one in one gene, which is told."""
    spots = [(g, o) for g, options in enumerate(space.choices) for o in range(options) if o != base[g]]
    near = np.repeat(base[None], len(spots), axis=0)
    for row, (gene, option) in zip(near, spots, strict=True):
        row[gene] = option
    kept = space.is_valid(near) & (space.canonical(near) == near).all(axis=1)
    return [(near[i], spots[i][0]) for i in np.flatnonzero(kept)]


def _order(rows: list[dict[str, int]] | list[Mapping[str, int]]) -> tuple[str, ...]:
    """One order of names that is that of every network.

    Raises:
        NotPlaced: there is none.
    """
    after: dict[str, set[str]] = {}
    for row in {tuple(row) for row in rows}:
        for name, following in itertools.pairwise((*row, "")):
            after.setdefault(name, set())
            if following:
                after[name].add(following)
    found: list[str] = []
    state: dict[str, bool] = {}

    for start, behind in after.items():
        stack = [(start, iter(behind))] if start not in state else []
        state.setdefault(start, False)
        while stack:
            name, waiting = stack[-1]
            following = next(waiting, "")
            if not following:
                stack.pop()
                state[name] = True
                found.append(name)
            elif following not in state:
                state[following] = False
                stack.append((following, iter(after[following])))
            elif not state[following]:
                raise NotPlaced(f"blocks {following!r} and {name!r} stand in either order")
    return tuple(reversed(found))


def _complete(book: _Book, pool: Archs, rows: list[Mapping[str, int]], name: str, genes: set[int]) -> None:
    """Add genes that no single change showed: two networks with equal genes have different blocks there.

    Raises:
        NotPlaced: there are too many.
    """
    for _ in range(_ROUNDS):
        own = sorted(genes)
        seen: dict[bytes, int] = {}
        clash = None
        for index, (arch, row) in enumerate(zip(pool, rows, strict=True)):
            first = seen.setdefault(arch[own].tobytes(), index)
            if rows[first].get(name, NONE) != row.get(name, NONE):
                clash = (first, index)
                break
        if clash is None:
            return
        genes.add(_decisive(book, pool[clash[0]], pool[clash[1]], name, genes))
    raise NotPlaced(f"what stands at {name!r} depends on genes {sorted(genes)} and more")


def _decisive(book: _Book, one: Archs, other: Archs, name: str, genes: set[int]) -> int:
    """A gene by which two networks differ there, found on a way from one to the other."""
    here = book.read(one).get(name, NONE)
    arch = one.copy()
    for gene in np.flatnonzero(one != other).tolist():
        arch[gene] = other[gene]
        canonical = book.space.canonical(arch[None])
        if book.space.is_valid(canonical)[0] and book.read(canonical[0]).get(name, NONE) != here and gene not in genes:
            return gene
    raise NotPlaced(f"what stands at {name!r} depends on more than single genes")


def _require_few(space: SampledSpace, name: str, genes: set[int]) -> None:
    """Refuse a place whose genes have too many combinations of options, before any table is made."""
    count = prod(space.choices[gene] for gene in genes)
    if count > _LARGEST:
        raise NotPlaced(f"what stands at {name!r} depends on genes {sorted(genes)}, {count} combinations of options")


def _table(book: _Book, pool: Archs, name: str, genes: set[int]) -> Codes:
    """What stands at a place for all options of its genes; `NONE` where no genome has them."""
    own = sorted(genes)
    options = tuple(book.space.choices[gene] for gene in own)
    unknown = NONE - 1
    codes = np.full(options, unknown, dtype=np.int32)
    for key, row in book.rows.items():
        arch = np.frombuffer(key, dtype=np.int64)
        codes[tuple(arch[own])] = row.get(name, NONE)
    elsewhere: dict[tuple[int, ...], tuple[int, ...]] = {}
    bases = surroundings(book.space.choices, pool[:_TRIED])
    for place in map(tuple, np.argwhere(codes == unknown).tolist()):
        tried = bases.copy()
        tried[:, own] = place
        canonical = book.space.canonical(tried)
        valid = book.space.is_valid(canonical)
        holds = valid & (canonical[:, own] == place).all(axis=1)
        if holds.any():
            codes[place] = book.read(canonical[int(np.argmax(holds))]).get(name, NONE)
        elif valid.any():
            elsewhere[place] = tuple(canonical[int(np.argmax(valid))][own].tolist())
    for place, instead in elsewhere.items():
        codes[place] = codes[instead]
    codes[codes == unknown] = NONE
    return codes
