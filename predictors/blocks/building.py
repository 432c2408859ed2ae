"""Which networks to compile so that every block is seen in every context that the space allows, and what they tell.

First networks are chosen until every block of the space is in one. From what these show, the automaton tells of any
network in which contexts its blocks stand; networks with contexts that were never seen are compiled next, until random
ones have none. Some more, which nothing was learned from, are held against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.profile import Target
from predictors.blocks import contexts, places
from predictors.blocks.contexts import Seen, counted
from predictors.blocks.places import NONE, Archs, NotLocal, Places, SampledSpace
from predictors.blocks.table import BlockTable
from predictors.network import Additive
from profiler.assembly import INPUT
from profiler.block_catalogue import CutNetwork, compile_and_cut
from profiler.operators import Operator
from profiler.stretches import Stretch, apart, crossed

Progress = Callable[[int, int], None]
Floats = NDArray[np.float64]

#: Random networks among which those with new blocks or contexts are looked for.
_POOL = 4_000
#: Networks that are compiled before what they tell is looked at; whatever the machine, they are the same.
_ROUND = 24
#: Most networks that are compiled for new contexts; what is then still unseen lowers the coverage of who has it.
MOST_COMPILED = 600
#: Networks that are compiled to hold the table against.
HELD = 40
#: Random networks that means of kernels are taken of, beside those that have every block.
AVERAGED = 160


@dataclass(frozen=True)
class Blocks:
    """All that a space's compiled networks tell, for any model of kernels.

    Attributes:
        choices: options per gene.
        places: what stands where.
        contexts: which kernels it has there.
        kernels: distinct ones, of the entries and of the held networks.
        exact: whether contexts tell kernels, or they are means.
        compiled: networks that were learned from.
        held: genomes that were not, `(h, d)`.
        held_kernels: numbers of the kernels that each of them runs.
        stretches: where networks are to be put together, what `contexts` and `held_kernels` number in place of kernels.
    """

    choices: tuple[int, ...]
    places: Places
    contexts: contexts.Contexts
    kernels: tuple[Operator, ...]
    exact: bool
    compiled: int
    held: Archs
    held_kernels: tuple[tuple[int, ...], ...]
    stretches: tuple[Stretch, ...] = ()

    def table(self, shares: Additive) -> BlockTable:
        """The sums of what each kernel adds.

        Args:
            shares: of `kernels`, in order.
        """
        entries = self.contexts.kernels
        columns = np.zeros((len(entries), shares.columns.shape[1]))
        for entry, kernels in enumerate(entries):
            for kernel, count in kernels:
                columns[entry] += count * shares.columns[kernel]
        missing = tuple(
            tuple(sorted(self.kernels[kernel].key for kernel, _ in kernels if shares.unknown[kernel]))
            for kernels in entries
        )
        return BlockTable(self.choices, self.places, self.contexts, columns, missing)

    def held_totals(self, shares: Additive) -> Floats:
        """Sums over the kernels that the held networks really run, `(h, q)`."""
        return np.stack([shares.columns[list(kernels)].sum(axis=0) for kernels in self.held_kernels])


def build(
    space: SampledSpace,
    target: Target,
    *,
    wired: bool = False,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Blocks:
    """Compile networks of a space until they tell all others.

    Args:
        space: of any size.
        target: whose runtime compiles them.
        wired: whether contexts must tell the order of a block's kernels and what each reads, not only how often each
            runs.
        seed: of the samples.
        progress: told how many networks are compiled, and of about how many.

    Raises:
        NotPlaced: what stands at a place depends on too many genes.
        NotLocal: a kernel belongs to no block; if `wired`, also where no context tells them exactly.
    """
    found = places.learn(space, seed)
    work = _Work(space, target, found, wired, progress)
    rng = np.random.default_rng([seed, 1])
    pool = space.canonical(space.sample(_POOL, rng))
    work.compile(_of_each_block(space, found, pool))
    exact = True
    while True:
        try:
            learned = contexts.learn(work.seen, len(found.blocks), chained=found.chained)
        except NotLocal:
            if wired:
                raise
            exact = False
            work.compile(space.canonical(space.sample(AVERAGED, np.random.default_rng([seed, 3]))))
            found, kinds = places.apart(found)  # what stands elsewhere has other neighbours
            networks = [_elsewhere(found, *network) for network in zip(work.archs, work.seen, strict=True)]
            learned = contexts.averaged(networks, kinds)
            break
        table = BlockTable(tuple(space.choices), found, learned, np.zeros((len(learned.kernels), 4)), ())
        more = _of_new_contexts(table, pool, _ROUND)
        if not len(more) or len(work.seen) >= MOST_COMPILED:
            break
        work.compile(more)
    compiled = len(work.seen)
    held = space.canonical(space.sample(HELD, np.random.default_rng([seed, 2])))
    work.compile(held)
    runs = tuple(
        tuple(kernel for seen in network for kernel, count in seen.kernels for _ in range(int(count)))
        for network in work.seen[compiled:]
    )
    kernels, stretches = tuple(work.kernels), tuple(work.stretches)
    return Blocks(tuple(space.choices), found, learned, kernels, exact, compiled, held, runs, stretches)


@dataclass
class _Work:
    """Networks that were compiled so far."""

    space: SampledSpace
    target: Target
    places: Places
    wired: bool
    progress: Progress
    kernels: dict[Operator, int] = field(default_factory=dict)
    stretches: dict[Stretch, int] = field(default_factory=dict)
    archs: list[Archs] = field(default_factory=list)
    seen: list[list[Seen]] = field(default_factory=list)

    def compile(self, archs: Archs) -> None:
        """Compile networks `(n, d)` and cut them apart.

        Raises:
            NotLocal: a kernel belongs to no block.
        """
        before = len(self.seen)
        self.archs += list(archs)
        assemblies = [self.space.assembly(arch) for arch in archs]
        catalogue = compile_and_cut(
            assemblies,
            self.target,
            progress=lambda done, total: self.progress(before + done, before + total),
        )
        numbers = [self.kernels.setdefault(kernel, len(self.kernels)) for kernel in catalogue.kernels]
        for codes, network in zip(self.places.codes(archs), catalogue.networks, strict=True):
            if network.uses is None:
                raise NotLocal("a kernel of a compiled network belongs to no block")
            standing = [code for code in codes.tolist() if code != NONE]
            numbered = replace(network, kernels=tuple(numbers[i] for i in network.kernels))
            self.seen.append(self._wired(standing, numbered) if self.wired else _counted(standing, numbered))

    def _wired(self, codes: list[int], network: CutNetwork) -> list[Seen]:
        """The blocks of a network, each with its stretch; edges are told by what crosses them, too."""
        kernels = list(self.kernels)
        stretches = apart(network, kernels)
        if network.uses is None or stretches is None:
            raise NotLocal("kernels of a compiled network do not run block by block")
        found = []
        before = INPUT
        for code, use, stretch, behind in zip(codes, network.uses, stretches, crossed(stretches, kernels), strict=True):
            number = self.stretches.setdefault(stretch, len(self.stretches)) if stretch.kernels else None
            _, given, *_ = use.given
            _, wanted, *_ = use.wanted
            found.append(
                Seen(
                    code,
                    ("", given, before, f"{given}: {before}"),
                    ("", wanted, behind, f"{wanted}: {behind}"),
                    () if number is None else ((number, 1),),
                )
            )
            before = behind
        return found


def _counted(codes: list[int], network: CutNetwork) -> list[Seen]:
    """The blocks of a network, each with how often it runs which kernels."""
    assert network.uses is not None
    return [
        Seen(code, use.given, use.wanted, counted(network.kernels[i] for i in use.kernels))
        for code, use in zip(codes, network.uses, strict=True)
    ]


def _elsewhere(found: Places, arch: Archs, network: list[Seen]) -> list[Seen]:
    """The blocks of the network of a genome `(d,)` under the numbers that other places give them."""
    codes = found.codes(arch[None])[0]
    return [replace(seen, code=int(code)) for seen, code in zip(network, codes[codes != NONE], strict=True)]


def _of_each_block(space: SampledSpace, found: Places, pool: Archs) -> Archs:
    """Networks, `(n, d)`, that have every block of the space together; each of a pool that has the most new ones."""
    codes = found.codes(pool)
    wanted = np.zeros(len(found.blocks) + 1, dtype=np.bool_)  # the last is for what is not there
    for place in found.places:
        wanted[place.codes[place.codes != NONE]] = True
    chosen = _greedy(pool, codes, wanted)
    for code in np.flatnonzero(wanted).tolist():
        if wanted[code]:
            arch = _with(space, found, pool, code)
            if arch is not None:
                chosen.append(arch)
                wanted[found.codes(arch[None])[0]] = False
    return np.array(chosen, dtype=np.int64)


def _with(space: SampledSpace, found: Places, pool: Archs, code: int) -> Archs | None:
    """A genome with a block that no network of a pool has, or None: no genome has it."""
    for place in found.places:
        for options in np.argwhere(place.codes == code).tolist():
            tried = pool[:64].copy()
            tried[:, list(place.genes)] = options
            tried = space.canonical(tried)
            good = space.is_valid(tried) & (found.codes(tried) == code).any(axis=1)
            if good.any():
                return np.asarray(tried[int(np.argmax(good))])
    return None


def _of_new_contexts(table: BlockTable, pool: Archs, most: int) -> Archs:
    """Up to `most` networks of a pool, `(n, d)`, each with the most contexts that were never seen."""
    uses = table.uses(pool)
    entries = table.contexts.entries.size
    flat = np.arange(entries + len(table.contexts.entries) + 1) >= entries  # contexts that were never seen, by block
    flat[NONE] = False
    return np.array(_greedy(pool, uses, flat, most), dtype=np.int64).reshape(-1, pool.shape[1])


def _greedy(
    pool: Archs, has: NDArray[np.integer[Any]], wanted: NDArray[np.bool_], most: int | None = None
) -> list[Archs]:
    """Genomes that together have what is wanted, each the one of a pool with the most that no one before it has.

    Args:
        pool: `(n, d)`.
        has: `(n, k)`, numbers of what each has.
        wanted: by number; what was found is taken off.
        most: genomes, or None for as many as it takes.
    """
    chosen: list[Archs] = []
    while most is None or len(chosen) < most:
        gains = wanted[has].sum(axis=1)
        best = int(np.argmax(gains))
        if gains[best] == 0:
            break
        chosen.append(pool[best])
        wanted[has[best]] = False
    return chosen
