"""A small space as a table: every network is compiled and predicted beforehand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from device_profiles.profile import Target
from device_profiles.reading import parse_json
from predictors import genes
from predictors.encoding import CostTable, DifferentiableTable
from predictors.encodings.protocol import Archs, Fidelity, Progress, SearchedSpace
from predictors.graphs.protocol import GraphPredictor
from predictors.prediction import Prediction
from predictors.sealed import floats, read_tensors
from profiler.catalogue import compile_all

#: Most architectures that are tabulated one by one.
TABLE_LIMIT = 100_000

#: Tensors of a table beside its costs, with one axis for each gene.
_TENSORS = ("coverage", "lacking", "low", "high")


@dataclass(frozen=True)
class Tabulated:
    """A `CostTable` that speaks of predictions.

    Attributes:
        table: of all architectures.
        unit: of its costs.
    """

    kind: ClassVar[str] = "table"
    file: ClassVar[str] = "table.safetensors"

    table: CostTable
    unit: str

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""
        return self.table.choices

    @staticmethod
    def fit(
        model: GraphPredictor, space: SearchedSpace, target: Target, unit: str, *, progress: Progress
    ) -> tuple[Tabulated, Fidelity]:
        """Compile and predict all architectures; see `tabulate`."""
        table, compiled = tabulate(model, space, target, progress=progress)
        return Tabulated(table, unit), Fidelity(Tabulated.kind, compiled)

    def predict(self, archs: Archs) -> Prediction:
        """Rows of the table for `(n, d)` architectures."""
        value = self.table.predict(archs)
        low, high = self.table.interval(archs)
        return Prediction(value, low, high, self.unit, self.table.covered(archs), self.table.missing_of(archs))

    def differentiable(self) -> DifferentiableTable:
        """The expected cost under independent choices."""
        return self.table.differentiable()

    def save(self, folder: Path) -> None:
        """Write `table.safetensors`."""
        from safetensors.numpy import save_file

        tensors = {f"cost{i}": np.ascontiguousarray(cost) for i, cost in enumerate(self.table.costs)}
        for name in _TENSORS:
            tensor = getattr(self.table, name)
            if tensor is not None:
                tensors[name] = np.ascontiguousarray(tensor)
        facts = {"genes": json.dumps(self.table.genes), "missing": json.dumps(self.table.missing)}
        save_file(tensors, folder / self.file, metadata=facts)

    @classmethod
    def load(cls, folder: Path, choices: tuple[int, ...], model: GraphPredictor, unit: str) -> Tabulated:
        """Read `table.safetensors`."""
        return Tabulated(_read_table(folder / cls.file, choices), unit)


def tabulate(
    model: GraphPredictor, space: SearchedSpace, target: Target, *, progress: Progress
) -> tuple[CostTable, int]:
    """The cost of every architecture of a space.

    From the kernels that the target's runtime makes of each distinct network.

    Architectures whose output does not depend on the input are charged for what remains (`GraphPredictor.idle`);
    nothing of that was measured, so their coverage is 0 and their interval reaches from 0 to three times that.

    Returns:
        The table, and how many networks were compiled.
    """
    archs = genes.numbered(np.arange(space.size), space.choices)
    canonical = space.canonical(archs)
    distinct, inverse = np.unique(canonical, axis=0, return_inverse=True)
    valid = space.is_valid(distinct)
    live = np.flatnonzero(valid)
    catalogue = compile_all([space.assembly(distinct[i]) for i in live], target, progress=progress)
    prediction = model.predict_catalogue(catalogue)
    rows = inverse.reshape(-1)
    idle = model.idle(catalogue)
    sets: dict[tuple[str, ...], int] = {(): 0}
    lacking = np.zeros(len(distinct), dtype=np.int32)
    lacking[live] = [sets.setdefault(keys, len(sets)) for keys in prediction.missing]

    def spread(values: NDArray[Any] | None, other: float) -> NDArray[np.float64] | None:
        if values is None:
            return None
        everywhere = np.full(len(distinct), other)
        everywhere[live] = values
        return everywhere[rows].reshape(space.choices)

    value = spread(prediction.value, idle)
    assert value is not None
    table = CostTable(
        choices=tuple(space.choices),
        genes=(tuple(range(len(space.choices))),),
        costs=(value,),
        coverage=spread(prediction.coverage, 0.0),
        lacking=lacking[rows].reshape(space.choices) if len(sets) > 1 else None,
        missing=tuple(sets),
        low=spread(prediction.low, 0.0),
        high=spread(prediction.high, 3.0 * idle),
    )
    return table, len(live)


def _read_table(path: Path, choices: tuple[int, ...]) -> CostTable:
    tensors, facts = read_tensors(path)
    genes = tuple(tuple(part) for part in parse_json(facts["genes"], "genes"))
    missing = tuple(tuple(keys) for keys in parse_json(facts["missing"], "missing"))
    costs = [f"cost{i}" for i in range(len(genes))]
    if not set(tensors) <= {*costs, *_TENSORS} or not all(isinstance(key, str) for keys in missing for key in keys):
        raise ValueError(f"it holds {', '.join(sorted(tensors))[:200]}, or keys that are no texts")
    parts = tuple(floats(tensors, name) for name in costs)
    others = {name: floats(tensors, name) for name in ("coverage", "low", "high") if name in tensors}
    lacking = tensors.get("lacking")
    if lacking is not None and lacking.dtype.kind != "i":
        raise ValueError(f"lacking holds {lacking.dtype}, not whole numbers")
    table = CostTable(choices, genes, parts, missing=missing, lacking=lacking, **others)
    table.require_ranges()
    return table
