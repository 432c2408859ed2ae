"""Studies of spaces: random networks are compiled and cut into their blocks, and many more are taken apart."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from device_profiles.profile import Target
from predictors.blocks.bags import Bags, Outputs, Reader
from predictors.blocks.counts import Counts
from predictors.blocks.origin import source_digest
from predictors.blocks.places import Archs, NotLocal, SampledSpace
from predictors.blocks.study import VERSION, Study
from profiler.assembly import Assembly
from profiler.block_catalogue import BlockCatalogue, compile_and_cut
from profiler.compiling import block_shapes, forked, kept_at

Progress = Callable[[int, int], None]

#: Networks that are learned from, at most, blocks that these have together, and networks that it is held against.
TAUGHT, BLOCKS, HELD = 2_000, 300_000, 60
#: Networks among which those with further blocks are looked for, and how many of these are learned from, too.
POOL, RARE = 6_000, 200
#: Networks that are taken apart beside these, at most, and blocks that they have together.
WALKED, STEPS = 30_000, 8_000_000
#: Networks that are looked at in one process at a time.
SPAN = 200
#: Networks that are looked at to know how large they are.
_LOOKED_AT = 50


class StudiedSpace(SampledSpace, Protocol):
    """A space that has a name."""

    @property
    def spec(self) -> str:
        """Name and options."""


def made(space: StudiedSpace, target: Target, why: str, *, progress: Progress) -> Study:
    """Compile random networks and cut them into their blocks, and take others apart; kept on disk.

    Args:
        space: of any size.
        target: whose runtime compiles its networks.
        why: no costs of kernels make it a sum over blocks, or "".
        progress: told how many networks are compiled, then how many are taken apart.

    Raises:
        NotLocal: a kernel belongs to no block.
    """
    reader = Reader(block_shapes())
    size = _largest(space)
    taught = min(TAUGHT, BLOCKS // size)
    archs = space.canonical(space.sample(taught + HELD, np.random.default_rng([0, 4])))
    assemblies = [space.assembly(arch) for arch in archs]
    further = rare(space, assemblies[:taught], reader)
    archs, taught = np.concatenate([further, archs]), taught + len(further)
    assemblies = [*map(space.assembly, further), *assemblies]
    catalogue = compile_and_cut(assemblies, target, progress=progress)
    stands, uses = _uses(assemblies[:taught], catalogue, reader)
    networks = reader.bags(assemblies)
    more = space.sample(min(WALKED, STEPS // size), np.random.default_rng([0, 6]))
    walked, outputs = taken_apart(space, space.canonical(more), reader, progress=progress)
    found = Study(
        archs=archs,
        taught=taught,
        networks=networks,
        kernels=catalogue.kernels,
        runs=Counts.of([Counter(network.kernels) for network in catalogue.networks]),
        stands=np.array([stands[block] for block in range(len(reader.spots.blocks))], dtype=np.float64),
        uses=Counts.of([uses[block] for block in range(len(reader.spots.blocks))]),
        more=more,
        walked=walked,
        outputs=outputs | reader.outputs(),
        why=why,
    )
    path = _path(space, target)
    if path is not None:
        found.write(path)
    return found


def kept(space: StudiedSpace, target: Target) -> Study | None:
    """What is kept of a space; None where nothing is, it is damaged, or the space's networks are others by now."""
    path = _path(space, target)
    found = None if path is None else Study.read(path)
    if found is None or found.archs.shape[1] != len(space.choices):
        return None
    try:
        if not found.holds(space, block_shapes()):
            return None
    except Exception:  # of anybody's space, which no longer makes such networks
        return None
    block_shapes().outputs.update(found.outputs)
    return found


def taken_apart(
    space: StudiedSpace, archs: Archs, reader: Reader, *, progress: Progress = lambda done, total: None
) -> tuple[Bags, Outputs]:
    """Networks of canonical genomes `(n, d)`, side by side, and what their blocks give.

    Spots that are met are added to the reader's.
    """
    spans = [archs[start : start + SPAN] for start in range(0, len(archs), SPAN)]
    parts: list[Counts] = []
    outputs: Outputs = {}
    done = 0

    def one(number: int) -> tuple[Bags, Outputs]:
        own = Reader(reader.shapes)
        return own.bags(map(space.assembly, spans[number])), own.outputs()

    for part, given in forked(one, len(spans)):
        parts.append(part.numbered(reader.spots).counts)
        outputs |= given
        done += len(part)
        progress(done, len(archs))
    return Bags(reader.spots, Counts.joined(parts)), outputs


def rare(space: StudiedSpace, assemblies: Sequence[Assembly], reader: Reader) -> Archs:
    """Genomes, `(n, d)`, with blocks that networks have not, if there may be such: if one of these has a block alone.

    Source: what was never seen has about the share of what was seen once; Good, "The population frequencies of species
        and the estimation of population parameters", Biometrika 40, 1953.
    """
    seen = Counter(number for assembly in assemblies for number in set(reader.blocks(assembly)))
    if 1 not in seen.values():
        return np.empty((0, len(space.choices)), dtype=np.int64)
    known = {reader.spots.blocks[number] for number in seen}
    pool = space.canonical(space.sample(POOL, np.random.default_rng([0, 7])))
    spans = [pool[start : start + SPAN] for start in range(0, len(pool), SPAN)]

    def new(number: int) -> list[set[str]]:
        own = Reader(reader.shapes)
        rows = [own.blocks(space.assembly(arch)) for arch in spans[number]]
        return [{own.spots.blocks[block] for block in row} - known for row in rows]

    chosen: list[Archs] = []
    met: set[str] = set()
    for arch, blocks in zip(pool, itertools.chain.from_iterable(forked(new, len(spans))), strict=True):
        if blocks - met and len(chosen) < RARE:
            chosen.append(arch)
            met |= blocks
    return np.array(chosen, dtype=np.int64).reshape(-1, len(space.choices))


def _uses(
    assemblies: Sequence[Assembly], catalogue: BlockCatalogue, reader: Reader
) -> tuple[Counter[int], dict[int, Counter[int]]]:
    """How often each block stands in the first networks of a catalogue, and runs each kernel there.

    Raises:
        NotLocal: a kernel belongs to no block.
    """
    stands: Counter[int] = Counter()
    uses: dict[int, Counter[int]] = defaultdict(Counter)
    for assembly, network in zip(assemblies, catalogue.networks, strict=False):
        if network.uses is None:
            raise NotLocal("a kernel of a compiled network belongs to no block")
        blocks = reader.blocks(assembly)
        stands.update(blocks)
        for block, use in zip(blocks, network.uses, strict=True):
            uses[block].update([network.kernels[i] for i in use.kernels])
    return stands, uses


def _largest(space: StudiedSpace) -> int:
    """Blocks of the largest of some networks."""
    return max(len(space.assembly(arch).blocks) for arch in space.sample(_LOOKED_AT, np.random.default_rng([0, 8])))


def _path(space: StudiedSpace, target: Target) -> Path | None:
    """Where the study of a space is kept; None where nobody can tell what makes its networks."""
    digest = source_digest(space)
    if digest is None:
        return None
    sizes = (TAUGHT, BLOCKS, HELD, POOL, RARE, WALKED, STEPS)
    stamp = (space.spec, digest, str(space.choices), str(sizes))
    return kept_at("studies", VERSION, target, stamp, ".npz")
