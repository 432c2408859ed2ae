"""What a search wants: quantities with a unit, a direction and a source, maybe bounded.

Inside a search every array is a cost, lower is better; the direction is applied here, once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from device_profiles.errors import UsageError
from device_profiles.units import parse_quantity
from nas.arrays import Floats

#: Where a value comes from.
SOURCES = ("trained", "shared", "table", "predicted", "measured", "counted")


@dataclass(frozen=True)
class Objective:
    """One quantity.

    Attributes:
        name: how the user calls it.
        unit: of its values: `ms`, `mJ`, `bytes`, `fraction`, `MACs`, `parameters`, or "" where a table does not say.
        maximise: True if more is better.
        source: one of `SOURCES`.
        spec: the text it was opened from.
    """

    name: str
    unit: str
    maximise: bool
    source: str
    spec: str

    def cost(self, values: Floats) -> Floats:
        """Values as costs of the same shape, lower is better."""
        return -values if self.maximise else values

    def value(self, costs: Floats) -> Floats:
        """Costs as values of the same shape again."""
        return -costs if self.maximise else costs


@dataclass(frozen=True)
class Values:
    """Values of one objective for `n` architectures.

    Attributes:
        value: `(n,)`; NaN where the evaluation failed.
        low: `(n,)`, lower ends of the intervals, or None.
        high: `(n,)`, upper ends, or None.
        coverage: `(n,)`, share of a predicted value that stands on what was measured, in 0..1; None for what is not
            predicted, NaN where it is not known.
    """

    value: Floats
    low: Floats | None = None
    high: Floats | None = None
    coverage: Floats | None = None


@dataclass(frozen=True)
class Constraint:
    """A bound on an objective: `latency <= 2 ms`, `accuracy >= 0.9`.

    Attributes:
        name: of the objective.
        bound: in the objective's unit.
        upper: True for `<=`, False for `>=`.
    """

    name: str
    bound: float
    upper: bool

    def violation(self, values: Floats) -> Floats:
        """How far values are outside, relative to the bound, `(n,)`; 0 inside. NaN counts as infinitely far."""
        outside = values - self.bound if self.upper else self.bound - values
        return np.nan_to_num(np.maximum(outside, 0.0) / max(abs(self.bound), 1e-12), nan=np.inf, posinf=np.inf)

    def __str__(self) -> str:
        return f"{self.name} {'<=' if self.upper else '>='} {self.bound:g}"


_CONSTRAINT = re.compile(r"^\s*([\w.\-]+)\s*(<=|>=|<|>)\s*(.+?)\s*$")


def parse_constraint(text: str, objectives: Sequence[Objective]) -> Constraint:
    """Read a constraint such as `"latency <= 2 ms"`.

    Raises:
        UsageError: the text is no bound, or names no objective of this search.
    """
    match = _CONSTRAINT.match(text)
    if match is None:
        raise UsageError(f"cannot read the constraint {text!r}", hint="Write it like 'latency <= 2 ms'.")
    name, sign, bound = match.groups()
    for objective in objectives:
        if objective.name == name:
            return Constraint(name, parse_quantity(bound, objective.unit), sign.startswith("<"))
    known = ", ".join(objective.name for objective in objectives)
    raise UsageError(
        f"the constraint {text!r} bounds {name!r}, which is no objective of this search", hint=f"Objectives: {known}."
    )


def violations(constraints: Sequence[Constraint], values: dict[str, Floats]) -> Floats | None:
    """Sum of the relative violations `(n,)`, or None without constraints.

    Source: Deb, "An efficient constraint handling method for genetic algorithms", CMAME 186, 2000.
    """
    if not constraints:
        return None
    total = sum(constraint.violation(values[constraint.name]) for constraint in constraints)
    return np.asarray(total, dtype=np.float64)
