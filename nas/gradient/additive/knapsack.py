"""The multiple-choice knapsack, solved exactly: one option of each gene, the least sum, within bounds on other sums.

Source: Sinha & Zoltners, "The multiple-choice knapsack problem", Operations Research 27(3), 1979; solved by branch and
    bound of HiGHS (Huangfu & Hall, "Parallelizing the dual revised simplex method", Mathematical Programming
    Computation 10, 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nas.arrays import Archs, Floats

#: Rows are scaled to coefficients of at most 1, so HiGHS's tolerances are relative; the objective beyond, since the gap
#: at which it stops is 1e-6, absolutely.
_OBJECTIVE_SCALE = 1e4
#: How far beyond a limit a sum may be, as a share of its largest coefficient: sums in another order differ so.
_SLACK = 1e-9


@dataclass(frozen=True)
class Limits:
    """Bounds on one sum.

    Attributes:
        parts: for each gene `(options,)`, what an option adds.
        upper: most of the sum.
        lower: least of it.
    """

    parts: tuple[Floats, ...]
    upper: float = np.inf
    lower: float = -np.inf

    def looser(self, share: float) -> Limits:
        """The same, each bound further away by a share of it."""
        return replace(self, upper=self.upper + share * abs(self.upper), lower=self.lower - share * abs(self.lower))


@dataclass
class Knapsack:
    """A choice of one option for each gene.

    Attributes:
        choices: options per gene, `(d,)`.
        cuts: architectures that are out of question, `(d,)` each.
    """

    choices: tuple[int, ...]
    cuts: list[Archs] = field(default_factory=list)

    def best(self, scores: Sequence[Floats], limits: Sequence[Limits], without: Sequence[Archs] = ()) -> Archs | None:
        """The architecture `(d,)` of the least sum within all limits, or None if there is none.

        Args:
            scores: for each gene `(options,)`, what an option adds.
            limits: bounds on other sums.
            without: architectures `(d,)` that are out of question this time, beside `cuts`.
        """
        return self._solve(np.concatenate(scores), limits, (*self.cuts, *without), loose=False)

    def closest(self, limits: Sequence[Limits]) -> Archs | None:
        """The architecture `(d,)` that breaks limits least, each as a share of its sum's largest part, or None."""
        return self._solve(np.zeros(sum(self.choices)), limits, self.cuts, loose=True)

    def _solve(
        self, objective: Floats, limits: Sequence[Limits], cuts: Sequence[Archs], *, loose: bool
    ) -> Archs | None:
        """One program: options stand side by side, then, if limits are loose, by how much each of them is broken."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_matrix

        width, extra = sum(self.choices), len(limits) if loose else 0
        genes = np.repeat(np.arange(len(self.choices)), self.choices)
        rows = [np.pad((genes == gene).astype(float), (0, extra)) for gene in range(len(self.choices))]
        low, high = [1.0] * len(rows), [1.0] * len(rows)
        for number, limit in enumerate(limits):
            row = np.concatenate(limit.parts)
            size = float(np.abs(row).max()) or 1.0
            broken = np.zeros(extra)
            for end, sign in ((limit.upper, -1.0), (limit.lower, 1.0)):
                if not np.isfinite(end):
                    continue
                if loose:
                    broken[number] = sign
                rows.append(np.concatenate([row / size, broken]))
                low.append(-np.inf if sign < 0 else end / size - _SLACK)
                high.append(end / size + _SLACK if sign < 0 else np.inf)
        starts = np.cumsum((0, *self.choices))[:-1]
        for cut in cuts:
            row = np.zeros(width + extra)
            row[starts + cut] = 1.0
            rows.append(row)
            low.append(-np.inf)
            high.append(len(self.choices) - 1.0)
        scale = float(np.abs(objective).max()) or 1.0
        found = milp(
            np.concatenate([objective / scale * _OBJECTIVE_SCALE, np.ones(extra)]),
            integrality=np.concatenate([np.ones(width), np.zeros(extra)]),
            bounds=Bounds(np.zeros(width + extra), np.concatenate([np.ones(width), np.full(extra, np.inf)])),
            constraints=LinearConstraint(csr_matrix(np.array(rows)), np.array(low), np.array(high)),
            options={"mip_rel_gap": 0.0},
        )
        if found.x is None:
            return None
        chosen = np.split(found.x[:width], starts[1:])
        return np.array([int(part.argmax()) for part in chosen], dtype=np.int64)
