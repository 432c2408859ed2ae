"""What a search wants: quantities with a unit, a direction and a source, maybe bounded.

Inside a search every array is a cost, lower is better; the direction is applied here, once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from device_profiles.errors import UsageError
from device_profiles.units import parse_quantity
from nas.arrays import Floats

#: Of the intervals in studies, on fronts and pages; evaluators may give others, which are brought to it.
CONFIDENCE = 0.9
#: Where values of the toolkit's own evaluators come from; those of others may say another word.
SOURCES = ("trained", "shared", "table", "predicted", "measured", "counted")


@dataclass(frozen=True)
class Objective:
    """One quantity.

    Attributes:
        name: how the user calls it.
        unit: of its values: `ms`, `mJ`, `bytes`, `fraction`, `MACs`, `parameters`, or "" where a table does not say.
        maximise: True if more is better.
        source: one of `SOURCES`, or a word of up to 20 letters and dashes.
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
        confidence: of the intervals, above 0 and below 1.
    """

    value: Floats
    low: Floats | None = None
    high: Floats | None = None
    coverage: Floats | None = None
    confidence: float = CONFIDENCE


def is_source(text: str) -> bool:
    """Whether it can say where a value comes from: a word that a front can show."""
    return re.fullmatch(r"[a-z][a-z-]{0,19}", text) is not None


def at_confidence(values: Values, confidence: float = CONFIDENCE) -> Values:
    """The same values `(n,)` with intervals of another confidence, each side as wide as that of a normal would be."""
    if values.low is None or values.high is None or values.confidence == confidence:
        return replace(values, confidence=confidence)
    share = _deviations(confidence) / _deviations(values.confidence)
    low, high = (values.value + share * (end - values.value) for end in (values.low, values.high))
    return replace(values, low=low, high=high, confidence=confidence)


def _deviations(confidence: float) -> float:
    """Standard deviations from the mean of a normal to the ends of its central interval."""
    return NormalDist().inv_cdf((1.0 + confidence) / 2.0)


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
