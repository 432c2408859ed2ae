"""A line for each kind of kernel: time as operations, bytes and a constant, none of them negative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.features import LAUNCH_MS, family, work_columns
from predictors.models.protocol import Floats, KernelSamples
from predictors.sealed import check_numbers
from profiler.operators import Operator

#: Weight of the prior against one kernel: a coefficient may be off by as much as it is, a kernel by a fifth.
_PRIOR = 0.04
#: A coefficient's prior is at least this share of the speed of light.
_FLOOR = 0.2


@dataclass(frozen=True)
class Lines:
    """Non-negative least squares on the relative error, by kind of kernel.

    Coefficients that the kernels of a kind leave open (all of one kind may be bound by memory, say) are drawn to those
    of all kernels together, and these to the device's speed of light: a line is asked for kernels that are larger, or
    shaped otherwise, than those it has seen.

    Attributes:
        kinds: families with lines of their own (`features.family`): all that were seen.
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
            by_kind.setdefault(family(operator), []).append(row)
        kinds = tuple(sorted(by_kind))
        columns = work_columns(samples.operators)
        light = np.array([1e3 / samples.device.flops_per_s, *[1e3 / samples.device.bytes_per_s] * 2, LAUNCH_MS])
        # The speed of light in the unit of the cost: what the kernels reach of it on the mean.
        light *= float(np.exp(np.mean(np.log(samples.cost / (columns @ light)))))
        common = _line(columns, samples.cost, light)
        prior = np.maximum(common, _FLOOR * light)
        lines = [_own_line(columns[by_kind[kind]], samples.cost[by_kind[kind]], prior) for kind in kinds]
        return Lines(kinds, np.array([*lines, common]))

    def predict(self, operators: Sequence[Operator]) -> tuple[Floats, NDArray[np.bool_]]:
        """Times in ms, `(k,)`, and whether the kernel's kind has a line of its own, `(k,)`."""
        place = {kind: row for row, kind in enumerate(self.kinds)}
        index = np.array([place.get(family(op), place.get(op.kind, -1)) for op in operators], dtype=np.int64)
        ms = (work_columns(operators) * self.lines[index]).sum(axis=1)
        return np.maximum(ms, 1e-6), index >= 0

    def to_plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {"kinds": list(self.kinds), "lines": self.lines.tolist()}

    @staticmethod
    def from_plain(data: dict[str, Any]) -> Lines:
        """Read what `to_plain` made.

        Raises:
            ValueError: the lines are no finite numbers of at least 0, or not one for each kind and one for all others.
        """
        kinds, rows = tuple(data["kinds"]), data["lines"]
        if not all(isinstance(kind, str) for kind in kinds) or len(set(kinds)) != len(kinds):
            raise ValueError("kinds of kernels must be distinct texts")
        if len(rows) != len(kinds) + 1:
            raise ValueError(f"there are {len(rows)} lines for {len(kinds)} kinds and all others")
        for row in rows:
            check_numbers("a line", row, 4, least=0.0)
        return Lines(kinds, np.array(rows, dtype=np.float64))


def _own_line(columns: Floats, cost: Floats, prior: Floats) -> Floats:
    """The line of a kind, drawn to the common one, or to that at the level of the kind, whichever fits better.

    Some kinds are a hundred times as slow as others, and few kernels cannot say so against a prior at another level.
    """
    level = float(np.exp(np.mean(np.log(cost / (columns @ prior)))))
    return min((_drawn(columns, cost, prior), _drawn(columns, cost, level * prior)), key=lambda found: found[1])[0]


def _line(columns: Floats, cost: Floats, prior: Floats) -> Floats:
    return _drawn(columns, cost, prior)[0]


def _drawn(columns: Floats, cost: Floats, prior: Floats) -> tuple[Floats, float]:
    """A line, and what its errors and its distance to the prior come to."""
    from scipy.optimize import nnls

    pull = np.sqrt(_PRIOR) * np.eye(len(prior))
    left = np.concatenate([columns * prior / cost[:, None], pull])
    shares, left_over = nnls(left, np.concatenate([np.ones(len(cost)), pull.sum(axis=1)]))
    return np.asarray(shares * prior), float(left_over)
