"""The conformance kit for strategies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas import strategies
from nas.arrays import Archs, Costs
from nas.operators.protocol import Strategy
from nas.testing.rules import require
from predictors import genes

#: By how much the genes of what is bad may outweigh those of what is good in an ask, as a share of all its genes.
_EXCESS = 0.15
#: Problems with bounds: up to so many genomes all are looked at, with so many networks told that break the bound; of
#: larger ones so many networks are asked for.
_WHOLE, _BROKEN, _ASKED = 10_000, 21, 84


@dataclass(frozen=True)
class _Case:
    """A problem with a cheap cost.

    Attributes:
        label: for messages.
        choices: options per gene.
        objectives: number of costs.
        canonical: as in `nas.strategies.create`.
        valid: likewise.
        informed: whether the strategy is given features and one known objective.
        ordered: whether the options of all genes are in an order.
        bound: upper bound on the first cost, which is then known, or None.
    """

    label: str
    choices: tuple[int, ...]
    objectives: int
    canonical: Callable[[Archs], Archs] | None = None
    valid: Callable[[Archs], NDArray[np.bool_]] | None = None
    informed: bool = False
    ordered: bool = False
    bound: float | None = None

    def create(self, name: str, settings: dict[str, Any]) -> Strategy:
        """A fresh strategy for this problem."""
        return strategies.create(
            name,
            choices=self.choices,
            objectives=self.objectives,
            seed=7,
            known={0: self._first} if self.informed or self.bound is not None else None,
            features=(lambda archs: self.inside(archs) / np.array(self.choices)) if self.informed else None,
            canonical=self.canonical,
            valid=self.valid,
            ordered=(True,) * len(self.choices) if self.ordered else None,
            excess=None if self.bound is None else self.excess,
            **settings,
        )

    def costs(self, archs: Archs) -> Costs:
        """Distances to as many corners as there are objectives, `(n, m)`."""
        spread = self.inside(archs) / np.maximum(np.array(self.choices) - 1, 1)
        corners = (np.arange(self.objectives)[:, None] + np.arange(len(self.choices))) % 3 / 2
        return np.asarray(((spread[:, None, :] - corners) ** 2).mean(axis=2))

    def _first(self, archs: Archs) -> NDArray[np.float64]:
        require(len(archs) > 0, "known costs", f"{self.label}: the known cost was asked for of no architectures")
        return np.asarray(self.costs(archs)[:, 0])

    def excess(self, archs: Archs) -> NDArray[np.float64]:
        """By how much the first cost breaks its bound, `(n,)`; 0 without one."""
        return np.zeros(len(archs)) if self.bound is None else np.maximum(self._first(archs) - self.bound, 0.0)

    def inside(self, archs: Archs) -> Archs:
        """The rows, if they are `(n, d)` integers in the space."""
        archs = np.asarray(archs)
        require(
            archs.ndim == 2 and archs.shape[1] == len(self.choices) and np.issubdtype(archs.dtype, np.integer),
            "rule 2 (rows are in the space)",
            f"{self.label}: rows are integers (n, {len(self.choices)}), got {archs.shape} of {archs.dtype}",
        )
        outside = ((archs < 0) | (archs >= np.array(self.choices))).any(axis=1)
        require(
            not outside.any(), "rule 2 (rows are in the space)", f"{self.label}: {archs[outside][:1]} is outside of it"
        )
        return archs

    def networks(self, archs: Archs) -> list[bytes]:
        """One key for each row; equal keys are the same network."""
        rows = archs if self.canonical is None else self.canonical(archs)
        return [np.asarray(row, dtype=np.int64).tobytes() for row in rows]

    def everything(self) -> Archs:
        """All genomes of a small problem."""
        rows = genes.numbered(np.arange(prod(self.choices)), self.choices)
        return rows if self.valid is None else rows[self.valid(rows)]


class _Run:
    """A strategy under observation: every ask is checked, every tell is kept for the replay."""

    def __init__(self, case: _Case, name: str, settings: dict[str, Any]) -> None:
        self.case = case
        self.name = name
        self.settings = settings
        self.strategy = case.create(name, settings)
        self.told: set[bytes] = set()
        self.tells: list[tuple[Archs, Costs, NDArray[np.float64] | None]] = []

    def ask(self, count: int, pending: Archs | None = None) -> Archs:
        """Rows that hold to rule 2."""
        given = self.strategy.ask(count) if pending is None else self.strategy.ask(count, pending=pending.copy())
        require(isinstance(given, np.ndarray), "rule 2 (asks are a matrix)", f"ask gave a {type(given).__name__}")
        rows = self.case.inside(given).copy()
        rule, where = "rule 2 (asks are new networks)", f"{self.case.label}, ask({count})"
        require(len(rows) <= count, rule, f"{where} gave {len(rows)} rows")
        keys = self.case.networks(rows)
        require(len(set(keys)) == len(keys), rule, f"{where} gave one network twice")
        require(not self.told.intersection(keys), rule, f"{where} gave a network that was told before")
        out = set() if pending is None else set(self.case.networks(pending))
        require(
            not out.intersection(keys), "rule 2 (what is pending is not asked for)", f"{where} gave one that is out"
        )
        if self.case.valid is not None:
            require(self.case.valid(rows).all(), rule, f"{where} gave a genome that is no network")
        if given.flags.writeable:
            given[:] = 0  # whoever asked may use the rows as they like
        return rows

    def tell(self, archs: Archs, costs: Costs, violations: NDArray[np.float64] | None = None) -> None:
        """Tell, keep what was told, and spoil the arrays that the strategy was given."""
        self.tells.append((archs, costs, violations))
        self.told.update(self.case.networks(archs))
        given = (archs.copy(), costs.copy(), None if violations is None else violations.copy())
        self.strategy.tell(*given)
        given[0][:] = 0
        given[1][:] = np.nan

    def replayed(self) -> Strategy:
        """A new instance that was told the same and asked for nothing."""
        fresh = self.case.create(self.name, self.settings)
        for archs, costs, violations in self.tells:
            fresh.tell(archs.copy(), costs.copy(), violations)
        return fresh


#: Of the problems of a check that is not thorough, so many of each sort.
_FEW = 2


def check_strategy(name: str, *, thorough: bool = True, **settings: Any) -> None:
    """Hold a strategy to the seven rules of `nas.operators.protocol.Strategy`.

    Args:
        name: a registered name.
        thorough: on all problems of the kit; else on some of each sort, for strategies that think for seconds.
        **settings: the strategy's own settings.

    Raises:
        AssertionError: a rule is broken; the message says which one, and on what problem.
        UsageError: there is no such strategy, or it does not take the settings.
    """
    few = None if thorough else _FEW
    histories = (
        _Case("a known objective and features", (6, 4, 3, 3), 2, informed=True),
        _Case("equal networks", (5, 5, 5, 5), 2, canonical=lambda archs: np.sort(archs, axis=1)),
        _Case("two objectives", (5,) * 6, 2),
        _Case("one objective, genes of one option", (4, 1, 3, 2, 5), 1),
        _Case("genomes without a network", (4, 3, 3, 2), 3, valid=lambda archs: archs[:, 0] > 0),
        _Case("five objectives, genes in an order", (9, 2, 30, 5), 5, ordered=True),
    )
    for case in histories[:few]:
        _check_history(_Run(case, name, settings))
    if thorough:
        _check_batches(_Run(_Case("a large space", (5,) * 6, 2), name, settings))
    small = (
        _Case("12 networks", (3, 2, 2), 2),
        _Case("no network", (2, 2), 2, valid=lambda archs: np.zeros(len(archs), dtype=np.bool_)),
        _Case("10 networks of 27 genomes", (3, 3, 3), 1, canonical=lambda archs: np.sort(archs, axis=1)),
        _Case("8 networks of 12 genomes", (3, 2, 2), 3, valid=lambda archs: archs[:, 0] > 0),
        _Case("one network", (1, 1), 1),
    )
    for case in small[:few]:
        for batch in (1, 5, 50)[few or 0 :]:
            _check_exhaustion(_Run(case, name, settings), batch)
    twins = _Case("equal networks, some out", (5, 5, 5, 5), 2, canonical=lambda archs: np.sort(archs, axis=1))
    for case in (_Case("a large space, some out", (5,) * 6, 2), twins):
        _check_pending(_Run(case, name, settings))
    _check_last_pending(_Run(_Case("12 networks, some out", (3, 2, 2), 2), name, settings))
    _check_bounds(_Run(_Case("a bound that 1 in 30 networks keep", (5,) * 4, 2, bound=0.07), name, settings))
    if thorough:
        large = _Case("a bound in a large space", (9,) * 10, 2, valid=lambda archs: archs[:, 0] > 0, bound=0.06)
        _check_bounds(_Run(large, name, settings))
    _check_preferences(name, settings)
    try:
        strategies.create(name, choices=(2, 2), objectives=1, **settings, no_such_setting=1)
    except UsageError:
        return
    raise AssertionError("settings: an unknown one must be refused with UsageError, and was taken")


def _check_history(run: _Run) -> None:
    """Rules 1, 2 and 3 over a history of asks, foreign rows, failures and violations."""
    case = run.case
    rng = np.random.default_rng(0)
    for step, count in enumerate((1, 2, 7, 16, 50, 10)):
        rows = run.ask(count)
        run.ask(count + 3)
        require(
            np.array_equal(rows, run.ask(count)),
            "rule 1 (asking changes nothing)",
            f"{case.label}: ask({count}) twice without a tell between gave different rows at step {step}",
        )
        if step % 2:
            foreign = rng.integers(0, case.choices, size=(int(rng.integers(0, 9)), len(case.choices)))
            rows = np.concatenate([rows, foreign, foreign[:2]])
        costs = case.costs(rows)
        costs[3::7] = np.nan
        costs[4::11, 0] = np.inf
        run.tell(rows, costs, rng.choice([0.0, 0.0, 0.5, np.inf], size=len(rows)) if step >= 2 else None)
        if step == 3:
            run.tell(rows[:0], costs[:0])
        require(
            np.array_equal(run.ask(9), run.replayed().ask(9)),
            "rule 1 (resuming is replay)",
            f"{case.label}: a new instance that was told the same asks for something else after step {step}",
        )


def _check_pending(run: _Run) -> None:
    """Rules 1 and 2 where evaluations are completed in another order than they were asked for, a few at a time."""
    case, rng = run.case, np.random.default_rng(1)
    out = run.ask(9)
    for _ in range(4):
        plain = run.ask(6)
        named = out if case.canonical is None else out[:, ::-1]  # the same networks by other genomes
        rows = run.ask(6, named)
        where = f"{case.label}, {len(out)} of them"
        require(
            len(rows) == 6, "rule 2 (fewer rows mean that nothing else is left)", f"{where}: ask(6) gave {len(rows)}"
        )
        rule = "rule 1 (what is pending changes nothing)"
        require(np.array_equal(plain, run.ask(6)), rule, f"{where}: asking with it changes what is asked for without")
        require(
            np.array_equal(plain, run.ask(6, out[:0])), rule, f"{where}: none pending is not as if nothing was said"
        )
        require(
            np.array_equal(rows, run.replayed().ask(6, pending=named.copy())),
            "rule 1 (ask is a function of the state and of what is pending)",
            f"{where}: a new instance that was told the same in the same order asks for something else",
        )
        out = rng.permutation(np.concatenate([out, rows]))
        for done in (out[:2], out[2:7]):
            run.tell(done, case.costs(done))
        out = out[7:]


def _check_last_pending(run: _Run) -> None:
    """Rule 2 at the end of a small space: what is out is not what is left."""
    case, rule = run.case, "rule 2 (fewer rows mean that nothing else is left)"
    rows = case.everything()
    run.tell(rows[:4], case.costs(rows[:4]))
    out = run.ask(5)
    left = run.ask(50, out)
    require(len(left) == len(rows) - 9, rule, f"{case.label}: {len(rows) - 9} are left, ask(50) gave {len(left)}")
    left = run.ask(50, np.concatenate([out, left]))
    require(len(left) == 0, rule, f"{case.label}: all are told or out, ask(50) gave {len(left)} rows")


def _check_batches(run: _Run) -> None:
    """Rules 2 and 6: any batch size, and all of it as long as the space is not exhausted."""
    require(len(run.ask(0)) == 0, "rule 6 (any batch size)", "ask(0) gave rows")
    for count in (1, 50, 2, 3, 8, 5, 21, 13, 34, 1):
        rows = run.ask(count)
        require(
            len(rows) == count,
            "rule 2 (fewer rows mean that the space is exhausted)",
            f"ask({count}) gave {len(rows)} rows, with {len(run.told)} of {prod(run.case.choices)} networks told",
        )
        run.tell(rows, run.case.costs(rows))


def _check_exhaustion(run: _Run, batch: int) -> None:
    """Rule 2 at the end of a small space: every network is found, then nothing more."""
    case, rule = run.case, "rule 2 (fewer rows mean that the space is exhausted)"
    total = len(set(case.networks(case.everything())))
    for _ in range(total + 1):
        rows = run.ask(batch)
        left = total - len(run.told)
        require(
            len(rows) == min(batch, left), rule, f"{case.label}: ask({batch}) gave {len(rows)} rows, {left} are left"
        )
        if len(rows):
            run.tell(rows, case.costs(rows))
    require(len(run.ask(50)) == 0, rule, f"{case.label}: ask(50) gave rows, none are left")
    other = _Run(case, run.name, run.settings)
    rows = case.everything()
    other.tell(rows, case.costs(rows))
    require(len(other.ask(batch)) == 0, "rule 3 (foreign rows are seen)", f"{case.label}: all were told, yet it asks")


def _check_bounds(run: _Run) -> None:
    """Rule 7: what breaks a bound on a known cost comes last, and the least broken of it first."""
    case, rule = run.case, "rule 7 (bounds on known costs are kept)"
    whole = prod(case.choices) <= _WHOLE
    amounts = np.sort(case.excess(case.everything())) if whole else np.zeros(_ASKED)
    told = 0
    while told < min(len(amounts), int((amounts <= 0).sum()) + _BROKEN):
        rows = run.ask(7)
        wanted = amounts[told : told + 7]
        require(len(rows) == len(wanted), rule, f"{case.label}: ask(7) gave {len(rows)} rows")
        found = case.excess(rows)
        where = f"{case.label}: after {told} architectures it asked for what exceeds its bound by {found.max():.3g}"
        require(np.allclose(np.sort(found), wanted), rule, f"{where}, and {wanted.max():.3g} was left")
        told += len(rows)
        run.tell(rows, case.costs(rows), found)


def _check_preferences(name: str, settings: dict[str, Any]) -> None:
    """Rules 4 and 5: what is told is good around 0 0 0 ... and bad around 4 4 4 ..., and asks must not lean to the bad.

    A strategy that learns nothing leans to neither.
    """
    case = _Case("two crowds", (5,) * 10, 2)
    good, bad = _crowd(0, 10), _crowd(4, 10)
    rows = np.concatenate([bad, good])
    none, dear, cheap = np.zeros(30), np.full((30, 2), 5.0), np.zeros((30, 2))
    dear[:, 0] += np.arange(30) / 30
    dear[:, 1] -= np.arange(30) / 30
    first = np.array([1.0, 0.0])
    nan, minus = np.where(first, np.nan, cheap), np.where(first, -np.inf, cheap)
    for rule, costs, violations in (
        ("rule 4 (a NaN is a failure)", np.concatenate([nan, dear]), None),
        ("rule 4 (an infinity is a failure)", np.concatenate([minus, dear]), None),
        ("rule 5 (feasible beats infeasible)", np.concatenate([cheap, dear]), np.concatenate([none + 1, none])),
        ("rule 5 (less violation beats more)", np.concatenate([cheap, dear]), np.concatenate([none + 10, none + 0.1])),
    ):
        run = _Run(case, name, settings)
        run.tell(rows, costs, violations)
        asked = run.ask(50)
        excess = (np.count_nonzero(asked == 4) - np.count_nonzero(asked == 0)) / max(asked.size, 1)
        require(excess <= _EXCESS, rule, f"asks lean to what is bad: {excess:.0%} more of its genes than of the good")
    asks = []
    for violations in (None, np.zeros(60)):
        run = _Run(case, name, settings)
        run.tell(rows, np.concatenate([dear, dear + 1]), violations)
        asks.append(run.ask(20))
    require(np.array_equal(asks[0], asks[1]), "rule 5 (0 is feasible)", "violations of 0 change what is asked")


def _crowd(centre: int, genes: int) -> Archs:
    """30 genomes of one option each, but for one gene."""
    rows = np.full((30, genes), centre, dtype=np.int64)
    number = np.arange(30)
    rows[number, number % genes] = 1 + number // genes
    return rows
