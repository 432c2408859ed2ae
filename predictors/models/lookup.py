"""A table of measured kernels: exact keys; what is not in it is guessed by a line, and said to be a guess."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from device_profiles.errors import InvalidTable
from predictors.kind_lines import Lines
from predictors.models.protocol import Floats, KernelPrediction, KernelSamples, require_costs
from predictors.sealed import check_numbers, read_json, understood
from profiler.operators import Operator

_SCHEMA = "hwnas.lookup/1"
_REMEDY = "Fit the predictor again."


@dataclass(frozen=True)
class Lookup:
    """Kernel times by the kernel's key.

    Source: the latency tables of ProxylessNAS (Cai et al., ICLR 2019, section 3.3), here over the runtime's own fused
        kernels.

    Attributes:
        keys: kernels, as `Operator.key`.
        ms: `(k,)`, their times.
        lines: for kernels that are not in the table.
        unit: of the times or energies.
    """

    composed: ClassVar[bool] = True

    keys: tuple[str, ...]
    cost: Floats
    lines: Lines
    unit: str = "ms"

    @staticmethod
    def fit(samples: KernelSamples) -> Lookup:
        """Keep the samples.

        Raises:
            InvalidTable: there are none, or one is not positive and finite.
        """
        if not samples.operators:
            raise InvalidTable("a table needs at least one measured kernel", hint="Profile some networks first.")
        require_costs(samples)
        keys = tuple(operator.key for operator in samples.operators)
        return Lookup(keys, np.asarray(samples.cost, dtype=np.float64), Lines.fit(samples), samples.unit)

    def predict(self, operators: Sequence[Operator]) -> KernelPrediction:
        """Times of kernels; those that are not in the table are not known, and are on the line of their kind."""
        index = np.array([self._index.get(operator.key, -1) for operator in operators], dtype=np.int64)
        known = index >= 0
        ms = self.cost[index]
        if not known.all():
            ms = np.where(known, ms, self.lines.predict(operators)[0])
        return KernelPrediction(ms, known)

    def save(self, folder: Path) -> None:
        """Write `lookup.json`."""
        table = dict(zip(self.keys, self.cost.tolist(), strict=True))
        data = {"schema": _SCHEMA, "unit": self.unit, "kernels": table, "others": self.lines.to_plain()}
        (folder / "lookup.json").write_text(json.dumps(data, indent=1))

    @staticmethod
    def load(folder: Path) -> Lookup:
        """Read `lookup.json`."""
        path = folder / "lookup.json"
        data = read_json(path, _SCHEMA, _REMEDY)
        with understood(f"cannot read {path}", _REMEDY):
            kernels, unit = data["kernels"], data["unit"]
            check_numbers("costs of kernels", tuple(kernels.values()), max(len(kernels), 1), least=sys.float_info.min)
            costs = np.array(list(kernels.values()), dtype=np.float64)
            return Lookup(tuple(kernels), costs, Lines.from_plain(data["others"]), str(unit))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key: i for i, key in enumerate(self.keys)}


MODEL = Lookup
