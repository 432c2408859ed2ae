"""A space of any size whose networks are walked block by block, where no few genes tell what stands at a place."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from device_profiles.errors import UsageError
from device_profiles.profile import Target
from predictors import intervals, searched
from predictors.blocks import walks
from predictors.blocks.places import NotLocal
from predictors.blocks.walks import Walk, Walks
from predictors.differentiable.protocol import DifferentiableCost
from predictors.encodings import _files
from predictors.encodings.protocol import Archs, Fidelity, Floats, Progress, SearchedSpace, widened
from predictors.genes import checked
from predictors.graphs.protocol import GraphPredictor
from predictors.network import Additive, NetworkModel
from predictors.prediction import Prediction
from predictors.sealed import check_numbers
from profiler.assembly import Assembly
from profiler.block_catalogue import BlockCatalogue, compile_and_cut
from profiler.block_traces import Shapes
from profiler.compiling import block_shapes, forked

#: Networks that are learned from, at most, blocks that these have together, and networks that it is held against.
TAUGHT, BLOCKS, HELD = 2_000, 300_000, 60
#: Networks among which those with further blocks are looked for, how many of these are learned from, too, and how many
#: are looked at in one process.
POOL, RARE, SPAN = 6_000, 200, 200
#: Networks that are looked at to know how large they are.
_LOOKED_AT = 50
#: Networks that are kept in memory, about.
_KEPT = 200_000


@dataclass(frozen=True)
class Walked:
    """Costs of blocks and of where they stand; architectures are taken apart when they are asked for.

    Some thousand a second, since the space is asked for each network; the spaces that need it have no gradients.

    Attributes:
        choices: options per gene.
        walks: what blocks cost.
        model: whose kernels they run.
        space: spec of the space, which `predictors.searched` must know.
        error: relative half-width of the 90 % interval of its deviation from compiling network by network.
    """

    kind: ClassVar[str] = "walked"
    file: ClassVar[str] = "walked.safetensors"

    choices: tuple[int, ...]
    walks: Walks
    model: NetworkModel
    space: str
    error: float
    _walks: dict[bytes, Walk] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def fit(
        model: NetworkModel, space: SearchedSpace, target: Target, why: str, *, progress: Progress
    ) -> tuple[Walked, Fidelity, tuple[Archs, Floats]]:
        """Compile random networks, cut them into their blocks, and learn what these cost.

        Returns:
            The encoding, how far it is from compiling network by network, and the genomes `(n, d)` that it was learned
            from with what they cost compiled alone, `(n,)`.

        Raises:
            NotLocal: a kernel belongs to no block.
        """
        searched.remember(space.spec, space)
        shapes = block_shapes()
        taught = min(TAUGHT, BLOCKS // largest(space))
        archs = space.canonical(space.sample(taught + HELD, np.random.default_rng([0, 4])))
        assemblies = [space.assembly(arch) for arch in archs]
        rare = _with_rare_blocks(space, assemblies[:taught], shapes)
        archs = np.concatenate([rare, archs])
        taught += len(rare)
        assemblies = [*map(space.assembly, rare), *assemblies]
        catalogue = compile_and_cut(assemblies, target, progress=progress)
        shares = model.additive(catalogue.kernels)
        plain = _blocks(assemblies[:taught], catalogue, shares, shapes)
        totals = np.stack([shares.columns[list(network.kernels)].sum(axis=0) for network in catalogue.networks])
        alone = model.of_totals(totals, ((),) * len(totals)).value
        bags = [walks.bag(assembly, shapes) for assembly in assemblies]
        found = plain.corrected(bags[:taught], alone[:taught], model)
        told = found.predict([found.walk(one) for one in bags[taught:]], model).value
        width = intervals.relative_half_width(np.abs(told / alone[taught:] - 1.0))
        encoding = Walked(tuple(space.choices), found, model, space.spec, 1.0 if width is None else min(width, 1.0))
        fidelity = Fidelity.of(Walked.kind, taught, told, alone[taught:], why)
        return encoding, fidelity, (archs, alone)

    def predict(self, archs: Archs) -> Prediction:
        """Predictions of `(n, d)` architectures, each taken apart.

        Raises:
            UsageError: the shape or a gene is outside of the space, or nobody knows the space.
        """
        archs = checked(archs, self.choices)
        new = [place for place, arch in enumerate(archs) if arch.tobytes() not in self._walks]
        if len(self._walks) + len(new) > _KEPT:
            self._walks.clear()
            new = list(range(len(archs)))
        if new:
            self._keep(archs[new])
        found = self.walks.predict([self._walks[arch.tobytes()] for arch in archs], self.model)
        return widened(found, self.error)

    def differentiable(self) -> DifferentiableCost:
        """There is none.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"the cost of {self.space} has no gradient: what stands where in its networks depends on too many genes",
            hint="Search it with a strategy that needs none, such as auto.",
        )

    def save(self, folder: Path) -> None:
        """Write `walked.safetensors`."""
        of = self.walks
        tensors = {
            "columns": of.columns,
            "shares": np.array(list(of.places.values()), dtype=np.float64),
            "owners": np.array([of.blocks[block] for block, _ in of.places], dtype=np.int64),
        }
        facts = {
            "space": self.space,
            "error": self.error,
            "blocks": list(of.blocks),
            "missing": of.missing,
            "places": [place for _, place in of.places],
            "corrections": [of.constant, of.least, of.most],
        }
        _files.write(folder / self.file, tensors, facts)

    @classmethod
    def load(cls, folder: Path, choices: tuple[int, ...], model: GraphPredictor, unit: str) -> Walked:
        """Read `walked.safetensors`."""
        tensors, facts = _files.read(folder / cls.file)
        if not isinstance(model, NetworkModel) or model.unit != unit:
            raise ValueError("walks need a model that is a sum over kernels, of the card's unit")
        blocks, columns = [str(block) for block in facts["blocks"]], tensors["columns"].astype(np.float64)
        shares, owners = tensors["shares"], tensors["owners"]
        if columns.ndim != 2 or len(columns) != len(blocks) or len(facts["missing"]) != len(blocks):
            raise ValueError(f"{len(blocks)} blocks have sums {columns.shape} and {len(facts['missing'])} missing keys")
        if not len(facts["places"]) == len(shares) == len(owners):
            raise ValueError(f"{len(facts['places'])} places have {len(shares)} shares of {len(owners)} blocks")
        if owners.size and not 0 <= owners.min() <= owners.max() < len(blocks):
            raise ValueError("a place is of a block that is not there")
        if not (np.isfinite(columns).all() and (columns >= 0).all() and np.isfinite(shares).all()):
            raise ValueError("a sum over kernels is below 0, or a number is not finite")
        check_numbers("corrections", facts["corrections"], 3)
        check_numbers("error", (facts["error"],), 1, least=0.0)
        constant, least, most = map(float, facts["corrections"])
        if not -1.0 < least <= most or facts["error"] > 1:
            raise ValueError(f"corrections reach from {least} to {most}, with an error of {facts['error']}")
        found = Walks(
            {block: number for number, block in enumerate(blocks)},
            columns,
            tuple(tuple(map(str, keys)) for keys in facts["missing"]),
            {
                (blocks[owner], str(place)): float(share)
                for owner, place, share in zip(owners.tolist(), facts["places"], shares, strict=True)
            },
            constant,
            least,
            most,
        )
        return Walked(choices, found, model, str(facts["space"]), float(facts["error"]))

    def _keep(self, archs: Archs) -> None:
        """Walk the networks of genomes, `(n, d)`, and keep what they add up to: searches ask again and again."""
        space, shapes = searched.find(self.space), block_shapes()
        for arch, canonical in zip(archs, space.canonical(archs), strict=True):
            self._walks[arch.tobytes()] = self.walks.walk(walks.bag(space.assembly(canonical), shapes))


def largest(space: SearchedSpace) -> int:
    """Blocks of the largest of some networks."""
    return max(len(space.assembly(arch).blocks) for arch in space.sample(_LOOKED_AT, np.random.default_rng([0, 8])))


def _blocks(assemblies: Sequence[Assembly], catalogue: BlockCatalogue, shares: Additive, shapes: Shapes) -> Walks:
    """What blocks cost on average in the first networks of a catalogue.

    Raises:
        NotLocal: a kernel belongs to no block.
    """
    sums: dict[str, Floats] = {}
    count: Counter[str] = Counter()
    lacking: dict[str, set[str]] = defaultdict(set)
    for assembly, network in zip(assemblies, catalogue.networks, strict=False):
        if network.uses is None:
            raise NotLocal("a kernel of a compiled network belongs to no block")
        for block, use in zip(walks.names(assembly, shapes), network.uses, strict=True):
            kernels = [network.kernels[i] for i in use.kernels]
            sums[block] = sums.get(block, 0.0) + shares.columns[kernels].sum(axis=0)
            count[block] += 1
            lacking[block] |= {catalogue.kernels[i].key for i in kernels if shares.unknown[i]}
    numbers = {block: number for number, block in enumerate(sums)}
    columns = np.stack([total / count[block] for block, total in sums.items()])
    return Walks(numbers, columns, tuple(tuple(sorted(lacking[block])) for block in sums), {})


def _with_rare_blocks(space: SearchedSpace, assemblies: Sequence[Assembly], shapes: Shapes) -> Archs:
    """Genomes, `(n, d)`, with blocks that networks have not, if there may be such: if one of these has a block alone.

    Source: what was never seen has about the share of what was seen once; Good, "The population frequencies of species
        and the estimation of population parameters", Biometrika 40, 1953.
    """
    seen = Counter(block for assembly in assemblies for block in set(walks.names(assembly, shapes)))
    if not any(count == 1 for count in seen.values()):
        return np.empty((0, len(space.choices)), dtype=np.int64)
    pool = space.canonical(space.sample(POOL, np.random.default_rng([0, 7])))
    spans = [pool[start : start + SPAN] for start in range(0, len(pool), SPAN)]

    def new(number: int) -> list[set[str]]:
        return [set(walks.names(space.assembly(arch), shapes)) - seen.keys() for arch in spans[number]]

    chosen: list[Archs] = []
    known: set[str] = set()
    for arch, blocks in zip(pool, itertools.chain.from_iterable(forked(new, len(spans))), strict=True):
        if blocks - known and len(chosen) < RARE:
            chosen.append(arch)
            known |= blocks
    return np.array(chosen, dtype=np.int64).reshape(-1, len(space.choices))
