"""A space of any size that says what its networks are made of, many at a time: each part adds what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from predictors import intervals, searched
from predictors.differentiable.protocol import DifferentiableCost
from predictors.encodings import _files
from predictors.encodings.protocol import Archs, Floats, SearchedSpace, no_gradient
from predictors.genes import checked
from predictors.graphs.protocol import GraphPredictor
from predictors.prediction import Prediction
from predictors.sealed import check_numbers

#: Genomes at a time: as many as fit into a processor's cache.
_CHUNK = 1024
#: Damping, as a share of the mean size of columns (a hundredth, or ten times as much, makes no difference in `nasbot`),
#: and most steps of the solver.
_DAMPING, _STEPS = 1e-3, 400


@runtime_checkable
class TallyingSpace(SearchedSpace, Protocol):
    """A space that says of many genomes at once what their networks are made of."""

    @property
    def tallied(self) -> int:
        """How many parts there are to tell apart, and 0, which is nothing."""

    def tally(self, archs: Archs) -> tuple[NDArray[np.int64], Floats | None]:
        """Numbers of the parts of `(n, d)` genomes, `(slots, n)`, and how often each is there; once if None."""


@dataclass(frozen=True)
class Tallied:
    """What parts of networks cost, learned from networks that were walked block by block.

    Attributes:
        choices: options per gene.
        space: spec of the space, which `predictors.searched` must know.
        costs: `(parts,)`, of each.
        unit: of costs.
        half_width: relative half-width of the 90 % interval; None where what was learned from has none.
        coverage: mean share that stands on what was measured.
    """

    kind: ClassVar[str] = "tallied"
    file: ClassVar[str] = "tallied.safetensors"

    choices: tuple[int, ...]
    space: str
    costs: Floats
    unit: str
    half_width: float | None = None
    coverage: float = 1.0

    @staticmethod
    def fit(space: TallyingSpace, archs: Archs, values: Floats, unit: str) -> Tallied:
        """Learn what parts cost from genomes `(n, d)` whose networks have these values `(n,)`, above 0.

        Costs are those of least squares of relative errors, damped a little: a part that few networks have costs
        about nothing, not anything.
        """
        from scipy.sparse import diags
        from scipy.sparse.linalg import lsqr

        searched.remember(space.spec, space)
        rows = _matrix(space, archs, values)
        sizes = np.sqrt(np.asarray(rows.multiply(rows).mean(axis=0)).reshape(-1))
        scale = np.divide(1.0, sizes, out=np.zeros_like(sizes), where=sizes > 0)
        damping = _DAMPING * len(archs) ** 0.5
        found, *_ = lsqr(rows @ diags(scale), np.ones(len(archs)), damp=damping, iter_lim=_STEPS)
        return Tallied(tuple(space.choices), space.spec, np.asarray(found * scale, dtype=np.float64), unit)

    def predict(self, archs: Archs) -> Prediction:
        """Predictions of `(n, d)` architectures.

        Raises:
            UsageError: the shape or a gene is outside of the space, or nobody knows the space, or it has changed.
        """
        archs = checked(archs, self.choices)
        space, value = self._space(), np.empty(len(archs))
        for start in range(0, len(archs), _CHUNK):
            numbers, times = space.tally(archs[start : start + _CHUNK])
            each = self.costs[numbers]
            value[start : start + _CHUNK] = (each if times is None else each * times).sum(axis=0)
        value = np.maximum(value, 0.0)  # parts of what is far from all that was seen may add up to less
        low, high = intervals.around(value, self.half_width, np.zeros_like(value))
        return Prediction(value, low, high, self.unit, np.full(len(archs), self.coverage), ((),) * len(archs))

    def _space(self) -> TallyingSpace:
        """The space, which is to tell as many parts apart as costs are known of."""
        space = searched.find(self.space)
        if not isinstance(space, TallyingSpace) or space.tallied != len(self.costs):
            told = space.tallied if isinstance(space, TallyingSpace) else 0
            raise UsageError(
                f"{self.space} tells {told} parts apart, this predictor knows {len(self.costs)}",
                hint="Fit it again: the space has changed.",
            )
        return space

    def differentiable(self) -> DifferentiableCost:
        """There is none.

        Raises:
            UsageError: always.
        """
        raise no_gradient(self.space)

    def save(self, folder: Path) -> None:
        """Write `tallied.safetensors`."""
        facts = {"space": self.space, "half_width": self.half_width, "coverage": self.coverage}
        _files.write(folder / self.file, {"costs": self.costs}, facts)

    @classmethod
    def load(cls, folder: Path, choices: tuple[int, ...], model: GraphPredictor, unit: str) -> Tallied:
        """Read `tallied.safetensors`."""
        tensors, facts = _files.read(folder / cls.file)
        costs, width, coverage = tensors["costs"].astype(np.float64), facts["half_width"], facts["coverage"]
        if costs.ndim != 1 or not costs.size or not np.isfinite(costs).all():
            raise ValueError(f"costs of parts must be finite, in one row, got {costs.shape}")
        check_numbers("half_width and coverage", (0.0 if width is None else width, coverage), 2, least=0.0)
        if coverage > 1:
            raise ValueError(f"coverage must be in 0..1, got {coverage}")
        return Tallied(
            choices, str(facts["space"]), costs, unit, None if width is None else float(width), float(coverage)
        )


def _matrix(space: TallyingSpace, archs: Archs, values: Floats) -> Any:
    """How often networks have each part over their values, `(n, parts)`, sparse."""
    from scipy.sparse import csr_matrix, vstack

    parts = []
    for start in range(0, len(archs), _CHUNK):
        numbers, times = space.tally(archs[start : start + _CHUNK])
        here = numbers.shape[1]
        entries = (np.ones(numbers.shape) if times is None else times) / values[start : start + here]
        entries = np.where(numbers == 0, 0.0, entries)
        rows = np.broadcast_to(np.arange(here), numbers.shape)
        parts.append(csr_matrix((entries.ravel(), (rows.ravel(), numbers.ravel())), shape=(here, space.tallied)))
    return vstack(parts).tocsr()
