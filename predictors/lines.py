"""A line for each kind of kernel: time as operations, bytes and a constant, none of them negative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.features import work_columns
from predictors.models.protocol import Floats, KernelSamples
from profiler.operators import Operator

#: Kinds with fewer kernels than this share one line.
_LEAST = 3


@dataclass(frozen=True)
class Lines:
    """Non-negative least squares on the relative error, by kind of kernel.

    Attributes:
        kinds: kinds with lines of their own.
        lines: `(kinds + 1, 4)`, ms for each operation, activation byte, weight byte, and kernel; the last row is for
            all other kinds.
    """

    kinds: tuple[str, ...]
    lines: Floats

    @staticmethod
    def fit(samples: KernelSamples) -> Lines:
        """Fit the lines; there must be samples."""
        by_kind: dict[str, list[int]] = {}
        for row, operator in enumerate(samples.operators):
            by_kind.setdefault(operator.kind, []).append(row)
        kinds = tuple(sorted(kind for kind, rows in by_kind.items() if len(rows) >= _LEAST))
        columns = work_columns(samples.operators)
        lines = [_line(columns[by_kind[kind]], samples.cost[by_kind[kind]]) for kind in kinds]
        return Lines(kinds, np.array([*lines, _line(columns, samples.cost)]))

    def predict(self, operators: Sequence[Operator]) -> tuple[Floats, NDArray[np.bool_]]:
        """Times in ms, `(k,)`, and whether the kernel's kind has a line of its own, `(k,)`."""
        index = np.array(
            [self.kinds.index(op.kind) if op.kind in self.kinds else -1 for op in operators], dtype=np.int64
        )
        ms = (work_columns(operators) * self.lines[index]).sum(axis=1)
        return np.maximum(ms, 1e-6), index >= 0

    def to_plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {"kinds": list(self.kinds), "lines": self.lines.tolist()}

    @staticmethod
    def from_plain(data: dict[str, Any]) -> Lines:
        """Read what `to_plain` made."""
        return Lines(tuple(data["kinds"]), np.array(data["lines"], dtype=np.float64).reshape(-1, 4))


def _line(columns: Floats, ms: Floats) -> Floats:
    from scipy.optimize import nnls

    scale = np.maximum(columns.max(axis=0), 1e-30)
    line, _ = nnls(columns / scale / ms[:, None], np.ones(len(ms)))
    return np.asarray(line / scale)
