"""A line for each kind of kernel: time as operations, bytes and a constant, none of them negative."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from device_profiles.errors import InvalidTable, SchemaMismatch
from predictors.features import work_columns
from predictors.models.protocol import Floats, KernelPrediction, KernelSamples
from profiler.operators import Operator

_SCHEMA = "hwnas.linear/1"
#: Kinds with fewer kernels than this share one line.
_LEAST = 3


@dataclass(frozen=True)
class Linear:
    """Non-negative least squares on the relative error, by kind of kernel.

    Attributes:
        kinds: kinds with lines of their own.
        lines: `(kinds + 1, 4)`, ms for each operation, activation byte, weight byte, and kernel; the last row is for
            all other kinds.
    """

    composed: ClassVar[bool] = True

    kinds: tuple[str, ...]
    lines: Floats

    @staticmethod
    def fit(samples: KernelSamples) -> Linear:
        """Fit the lines.

        Raises:
            InvalidTable: there are no samples.
        """
        if not samples.operators:
            raise InvalidTable("a line needs measured kernels", hint="Profile some networks first.")
        by_kind: dict[str, list[int]] = {}
        for row, operator in enumerate(samples.operators):
            by_kind.setdefault(operator.kind, []).append(row)
        kinds = tuple(sorted(kind for kind, rows in by_kind.items() if len(rows) >= _LEAST))
        columns = work_columns(samples.operators)
        lines = [_line(columns[by_kind[kind]], samples.ms[by_kind[kind]]) for kind in kinds]
        return Linear(kinds, np.array([*lines, _line(columns, samples.ms)]))

    def predict(self, operators: Sequence[Operator]) -> KernelPrediction:
        """Times on the lines; kinds without one of their own take the common one and are not known."""
        index = np.array(
            [self.kinds.index(op.kind) if op.kind in self.kinds else -1 for op in operators], dtype=np.int64
        )
        ms = (work_columns(operators) * self.lines[index]).sum(axis=1)
        return KernelPrediction(np.maximum(ms, 1e-6), index >= 0)

    def save(self, folder: Path) -> None:
        """Write `linear.json`."""
        data = {"schema": _SCHEMA, "kinds": self.kinds, "lines": self.lines.tolist()}
        (folder / "linear.json").write_text(json.dumps(data, indent=1))

    @staticmethod
    def load(folder: Path) -> Linear:
        """Read `linear.json`."""
        try:
            data = json.loads((folder / "linear.json").read_text())
            if data["schema"] != _SCHEMA:
                raise SchemaMismatch(f"{folder}/linear.json is of another schema", hint="Fit the predictor again.")
            return Linear(tuple(data["kinds"]), np.array(data["lines"], dtype=np.float64))
        except (OSError, ValueError, KeyError) as error:
            raise SchemaMismatch(
                f"cannot read {folder}/linear.json: {error}", hint="Fit the predictor again."
            ) from error


MODEL = Linear


def _line(columns: Floats, ms: Floats) -> Floats:
    from scipy.optimize import nnls

    scale = np.maximum(columns.max(axis=0), 1e-30)
    line, _ = nnls(columns / scale / ms[:, None], np.ones(len(ms)))
    return np.asarray(line / scale)
