"""A space of any size whose networks are walked block by block, where no few genes tell what stands at a place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from predictors import intervals, searched
from predictors.blocks.bags import Reader
from predictors.blocks.study import Study
from predictors.blocks.walks import Walk, Walks
from predictors.differentiable.protocol import DifferentiableCost
from predictors.encodings import _files
from predictors.encodings.protocol import Archs, Fidelity, Floats, SearchedSpace, no_gradient, widened
from predictors.genes import checked
from predictors.graphs.protocol import GraphPredictor
from predictors.network import NetworkModel
from predictors.prediction import Prediction
from predictors.sealed import check_numbers
from profiler.compiling import block_shapes

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
    _reader: list[Reader] = field(default_factory=list, compare=False, repr=False)

    @staticmethod
    def fit(model: NetworkModel, space: SearchedSpace, study: Study, why: str) -> tuple[Walked, Fidelity, Floats]:
        """Learn what blocks cost from networks that were cut into them.

        Returns:
            The encoding, how far it is from compiling network by network, and what the compiled networks of the study
            cost alone, `(n,)`.
        """
        searched.remember(space.spec, space)
        shares = model.additive(study.kernels)
        totals = study.runs.times(shares.columns)
        alone = model.of_totals(totals, ((),) * len(totals)).value
        taught = study.taught
        networks = study.networks
        found = Walks.of(study, shares).corrected(networks.rows(0, taught), alone[:taught], model)
        told = found.predict(found.walk(networks.rows(taught, len(networks))), model).value
        width = intervals.relative_half_width(np.abs(told / alone[taught:] - 1.0))
        encoding = Walked(tuple(space.choices), found, model, space.spec, 1.0 if width is None else min(width, 1.0))
        return encoding, Fidelity.of(Walked.kind, taught, told, alone[taught:], why), alone

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
        raise no_gradient(self.space)

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
        space = searched.find(self.space)
        if not self._reader:
            self._reader.append(Reader(block_shapes()))
        networks = self._reader[0].bags(map(space.assembly, space.canonical(archs)))
        for arch, walk in zip(archs, self.walks.walk(networks), strict=True):
            self._walks[arch.tobytes()] = walk
