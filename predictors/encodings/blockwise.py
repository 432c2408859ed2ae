"""A space of any size as a sum over blocks, exact where blocks and their neighbours decide kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from device_profiles.profile import Target
from predictors import intervals
from predictors.blocks import building
from predictors.blocks.expected import ExpectedBlocks
from predictors.blocks.places import NotLocal
from predictors.blocks.table import BlockTable, of_tensors, to_tensors
from predictors.encodings import _files
from predictors.encodings.protocol import (
    MOST_MEDIAN,
    MOST_WORST,
    Archs,
    Fidelity,
    Floats,
    Progress,
    SearchedSpace,
    widened,
)
from predictors.graphs.protocol import GraphPredictor
from predictors.network import NetworkModel
from predictors.prediction import Prediction
from predictors.sealed import check_numbers

#: Random networks whose mean stands for those with a context that was never seen, where gradients are wanted.
_SAMPLES = 2_000


@dataclass(frozen=True)
class Blockwise:
    """Sums over the blocks of networks, and the model that makes predictions of them.

    Attributes:
        table: of sums over kernels.
        model: whose kernels they are.
        otherwise: mean cost of random networks, in the model's unit.
        error: relative half-width of the 90 % interval of its deviation from compiling network by network; 0 where it
            is exact.
    """

    kind: ClassVar[str] = "blocks"
    file: ClassVar[str] = "blocks.safetensors"

    table: BlockTable
    model: NetworkModel
    otherwise: float
    error: float = 0.0

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""
        return self.table.choices

    @staticmethod
    def fit(
        model: NetworkModel, space: SearchedSpace, target: Target, *, progress: Progress
    ) -> tuple[Blockwise, Fidelity]:
        """Compile what tells all networks.

        Raises:
            NotLocal: blocks do not tell what networks cost: means over their contexts are too far off.
        """
        found = building.build(space, target, progress=progress)
        shares = model.additive(found.kernels)
        table = found.table(shares)
        sampled, missing = table.totals(space.sample(_SAMPLES, np.random.default_rng(0)))
        mean = float(model.of_totals(sampled, missing).value.mean())
        told, keys = table.totals(found.held)
        alone = model.of_totals(found.held_totals(shares), keys).value
        value = model.of_totals(told, keys).value
        fidelity = Fidelity.of(Blockwise.kind, found.compiled, value, alone)
        if found.exact:
            return Blockwise(table, model, mean), fidelity
        if fidelity.median > MOST_MEDIAN or fidelity.worst > MOST_WORST:
            raise NotLocal(f"kernels of blocks depend on more than their neighbours, and as means {fidelity}")
        width = intervals.relative_half_width(np.abs(value / alone - 1.0))
        fidelity = replace(fidelity, why="kernels of blocks depend on more than their neighbours, and are means")
        return Blockwise(table, model, mean, MOST_WORST if width is None else width), fidelity

    def predict(self, archs: Archs) -> Prediction:
        """Predictions of `(n, d)` architectures, as of their graphs."""
        return widened(self.model.of_totals(*self.table.totals(archs)), self.error)

    def differentiable(self) -> ExpectedBlocks:
        """The expected cost under independent choices."""
        weights, constant = self._weights()
        return ExpectedBlocks(self.table, weights, constant, max(self.otherwise - constant, 0.0))

    def save(self, folder: Path) -> None:
        """Write `blocks.safetensors`."""
        tensors, facts = to_tensors(self.table)
        _files.write(folder / self.file, tensors, {**facts, "otherwise": self.otherwise, "error": self.error})

    @classmethod
    def load(cls, folder: Path, choices: tuple[int, ...], model: GraphPredictor, unit: str) -> Blockwise:
        """Read `blocks.safetensors`."""
        tensors, facts = _files.read(folder / cls.file)
        if not isinstance(model, NetworkModel) or model.unit != unit:
            raise ValueError("blocks need a model that is a sum over kernels, of the card's unit")
        check_numbers("otherwise and error", (facts["otherwise"], facts["error"]), 2, least=0.0)
        if facts["error"] >= 1:
            raise ValueError(f"error must be below 1, got {facts['error']}")
        table = of_tensors(tensors, facts, choices)
        return Blockwise(table, model, float(facts["otherwise"]), float(facts["error"]))

    def _weights(self) -> tuple[Floats, float]:
        """What each column of sums counts in the cost, `(q,)`, and the constant."""
        weights = np.zeros(self.table.columns.shape[1])
        composed = self.model.composition
        weights[:2] = composed.scale, composed.per_kernel
        return weights, composed.constant
