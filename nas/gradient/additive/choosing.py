"""From sums to architectures: bounds, a grid of budgets, and the true predicted cost, which decides."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nas.arrays import Archs, Floats
from nas.gradient.additive.costs import Affine
from nas.gradient.additive.knapsack import Knapsack, Limits
from nas.gradient.parts.costs import one_hot
from nas.gradient.protocol import GradientProblem

#: How often limits are tightened by what true costs are beyond them, and how many networks, those without a function
#: or found before, are ruled out on the way.
_TIGHTENED, _RULED_OUT = 8, 16
#: Least by which a limit is tightened, as a share of the largest part of its sum: HiGHS's tolerance and more.
_STEP = 1e-5

#: Upper limits, one for each predicted objective, in its unit.
Budgets = tuple[float, ...]


@dataclass
class Chooser:
    """The best architectures within budgets, by scores and costs that add up.

    Attributes:
        problem: space, costs and bounds.
        scores: for each gene `(options,)`, the lower the better.
        costs: for each predicted objective, as a sum.
        knapsack: with the networks that are ruled out so far.
        seen: networks that were found.
    """

    problem: GradientProblem
    scores: Sequence[Floats]
    costs: tuple[Affine, ...]
    knapsack: Knapsack = field(init=False)
    seen: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.knapsack = Knapsack(self.problem.space.choices)

    def true(self, arch: Archs) -> list[float]:
        """Predicted costs of one architecture `(d,)`, each in its unit."""
        choices = self.problem.space.choices
        return [float(one_hot(price.cost, arch[None, :], choices)[0]) for price in self.problem.priced]

    def within(self, budgets: Budgets, scores: Sequence[Floats], *, fresh: bool = False) -> Archs | None:
        """The best valid architecture `(d,)` whose true predicted costs meet budgets and bounds, or None.

        Where costs are sums this is exact. Else limits begin looser by the error of the sum; where the true cost of
        what is found is beyond a limit, that of the sum is tightened by as much, and it is solved again: what is found
        keeps its limits, and need not be the best that does. Where tightening leaves nothing, what was beyond the
        limits is ruled out one by one.

        Args:
            budgets: beside the problem's bounds.
            scores: for each gene `(options,)`, the lower the better.
            fresh: not one that was found before.
        """
        wanted = self._limits(budgets)
        start = [limit.looser(cost.error) for limit, cost in zip(wanted, self.costs, strict=True)]
        limits, beyond, ruled_out = start, list[Archs](), 0
        while ruled_out <= _RULED_OUT:
            arch = self.knapsack.best(scores, limits, beyond if limits is start else ())
            if arch is None:
                if limits is start:
                    return None
                limits = start  # tightening ruled out everything: what is beyond the limits is, one by one
                continue
            if not self._fits(arch, fresh):
                self.knapsack.cuts.append(arch)
                ruled_out += 1
                continue
            true, summed = self.true(arch), [float(cost.predict(arch[None, :])[0]) for cost in self.costs]
            if all(want.lower <= value <= want.upper for want, value in zip(wanted, true, strict=True)):
                return arch
            beyond.append(arch)
            if len(beyond) <= _TIGHTENED:
                limits = [_tightened(*each) for each in zip(limits, wanted, true, summed, strict=True)]
            else:
                limits = start
                ruled_out += 1
        return None

    def closest(self) -> Archs | None:
        """The valid architecture `(d,)` that breaks the problem's bounds least, by the sums; None if none was found."""
        for _ in range(_RULED_OUT):
            arch = self.knapsack.closest(self._limits((np.inf,) * len(self.costs)))
            if arch is None or self._fits(arch, fresh=False):
                return arch
            self.knapsack.cuts.append(arch)
        return None

    def grid(self, count: int) -> list[Budgets]:
        """At most `count` budgets, even from the cheapest architecture to that of the best score, the loosest last.

        The first objective has a grid, and so has each further one without an upper bound; their product is taken. A
        further one with an upper bound is held by that alone. The ends are true predicted costs; the last budget of
        each grid is none, so that the problem's bounds alone count.

        Source: the epsilon-constraint method, Haimes, Lasdon & Wismer, IEEE Transactions on Systems, Man, and
            Cybernetics 1(3), 1971.
        """
        free = [i for i, price in enumerate(self.problem.priced) if i == 0 or price.bound is None]
        each = 1
        while (each + 1) ** len(free) <= count:
            each += 1
        none = (np.inf,) * len(self.costs)
        best = self.within(none, self.scores)
        axes: list[Sequence[float]] = [(np.inf,)] * len(self.costs)
        if best is None or each == 1:
            return [none]
        for objective in free:
            cheapest = self.within(none, self.costs[objective].parts)
            low, high = (self.true(arch)[objective] for arch in (best if cheapest is None else cheapest, best))
            if high > low:
                axes[objective] = (*np.linspace(low, high, each)[:-1].tolist(), np.inf)
        return list(itertools.product(*axes))

    def all(self, count: int, budgets: int) -> Iterator[tuple[Archs, Budgets]]:
        """At most `count` networks `(d,)`, all distinct, each with the budgets that it was found for.

        First the best of each budget, without what an earlier one had too; then, round by round, the best of each that
        was not found yet, until nothing new is.
        """
        grid = self.grid(min(count, budgets))
        found: list[Archs] = []
        fresh = False
        while count:
            before = count
            for limit in grid:
                arch = self.within(limit, self.scores, fresh=fresh)
                if arch is not None and count and self._key(arch) not in self.seen:
                    self.seen.add(self._key(arch))
                    found.append(arch)
                    count -= 1
                    yield arch, limit
            if count == before and fresh:
                return
            if not fresh:
                self.knapsack.cuts.extend(found)
                fresh = True

    def _limits(self, budgets: Budgets) -> list[Limits]:
        return [
            Limits(
                cost.parts,
                budget if price.bound is None else min(budget, price.bound),
                -np.inf if price.floor is None else price.floor,
            )
            for cost, price, budget in zip(self.costs, self.problem.priced, budgets, strict=True)
        ]

    def _fits(self, arch: Archs, fresh: bool) -> bool:
        valid = bool(self.problem.space.is_valid(arch[None, :])[0])
        return valid and not (fresh and self._key(arch) in self.seen)

    def _key(self, arch: Archs) -> bytes:
        return self.problem.space.canonical(arch[None, :]).tobytes()


def _tightened(limit: Limits, want: Limits, true: float, summed: float) -> Limits:
    """A limit of a sum that would have ruled out a network whose true cost is beyond what is wanted; else as it is."""
    least = _STEP * max(float(np.abs(part).max()) for part in limit.parts)
    if true > want.upper:
        return replace(limit, upper=min(limit.upper, summed) - max(true - want.upper, least))
    if true < want.lower:
        return replace(limit, lower=max(limit.lower, summed) + max(want.lower - true, least))
    return limit
