"""The conformance kit for evaluators."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import numpy as np

from device_profiles.errors import HwnasError, UsageError
from device_profiles.plugins import text_of
from nas.arrays import Archs
from nas.evaluators import REGISTRY, Context, open_objective, split
from nas.evaluators.protocol import Budget, Budgeted, Evaluator, Repeatable, takes_budget
from nas.objectives import Objective, Values, is_source
from nas.testing.rules import require

#: How far a quotient of sums may be beyond its range.
_ROUNDING = 1e-9


def check_evaluator(text: str, context: Context, archs: Archs | None = None) -> None:
    """Hold what an objective opens to `nas.evaluators.protocol.Evaluator`, and its kind to `EvaluatorKind`.

    Args:
        text: `SPEC` or `NAME=SPEC`, as for `--objective`.
        context: of a search that gives the evaluator what it needs.
        archs: `(n, d)` architectures to judge; six of the context's space if None.

    Raises:
        AssertionError: it breaks a rule; the message says which one, and how.
        HwnasError: the objective cannot be opened.
    """
    name, spec = split(text)
    claimed = [kind for _, kind in REGISTRY if kind.claims(spec)]
    require(len(claimed) == 1, "claims", f"{len(claimed)} kinds claim {spec!r}; exactly one must")
    kind = claimed[0]
    require(isinstance(kind.forms, str) and kind.forms, "forms", "what it takes must be said, for messages")
    require(
        isinstance(kind.settings, tuple) and all(isinstance(setting, str) for setting in kind.settings),
        "settings",
        f"they must be a tuple of names, got {kind.settings!r}",
    )
    opened = open_objective(text, context)
    members = [part for part in ("objective", "free", "identity", "evaluate") if not hasattr(opened, part)]
    require(not members, "protocol", f"{type(opened).__name__} lacks {', '.join(members)}")
    objective = opened.objective
    require(isinstance(objective, Objective), "objective", f"it must be nas.objectives.Objective, got {objective!r}")
    require(objective.name == (name or kind.default_name(spec)), "name", f"{text!r} was opened as {objective.name!r}")
    require(objective.spec == spec, "spec", f"{spec!r} was opened, the objective says {objective.spec!r}")
    require(is_source(objective.source), "source", f"{objective.source!r} is no word of 1 to 20 letters")
    require(isinstance(opened.free, bool), "free", f"it must be a bool, got {opened.free!r}")
    require(isinstance(opened.identity, str), "identity", f"it must be a string, got {opened.identity!r}")
    again = open_objective(text, context).identity
    require(again == opened.identity, "identity", f"opened twice it is {opened.identity!r} and {again!r}")
    rows = context.space.sample(6, np.random.default_rng(0)) if archs is None else np.asarray(archs)
    together = _steady("evaluate", opened.evaluate, rows)
    if takes_budget(opened):
        _check_budgets(opened, rows)
    if isinstance(opened, Repeatable):
        first = _steady("again", lambda archs: opened.again(archs, 0), rows)
        require(np.array_equal(first.value, together.value, equal_nan=True), "again", "replicate 0 is not `evaluate`")
        require(opened.most is None or opened.most > 1, "most", f"{opened.most} is no number of replicates above 1")
        _steady("again", lambda archs: opened.again(archs, 1), rows)


def _check_budgets(opened: Evaluator, rows: Archs) -> None:
    """It keeps a limit of some kind, and says of each other kind that it cannot."""
    judge = cast(Budgeted, opened).evaluate
    kept = 0
    for budget in (Budget(epochs=1), Budget(seconds=1.0), Budget(replicates=1)):
        try:
            _steady(f"evaluate under {budget.key}", partial(judge, budget=budget), rows)
        except UsageError:
            continue
        kept += 1
    require(kept > 0, "budget", "it takes a budget, and can keep none of epochs, seconds and replicates")


def _steady(what: str, judge: Callable[[Archs], Values], rows: Archs) -> Values:
    """Values that depend neither on the order nor on the batch."""
    judge = _raised(what, judge)
    together = _judged(judge(rows), len(rows))
    order = np.random.default_rng(1).permutation(len(rows))
    shuffled = _judged(judge(rows[order]), len(rows))
    alone = [_judged(judge(row[None]), 1) for row in rows]
    for part in ("value", "low", "high", "coverage"):
        whole = getattr(together, part)
        if whole is None:
            continue
        single = np.concatenate([getattr(one, part) for one in alone])
        same = np.array_equal(whole[order], getattr(shuffled, part), equal_nan=True)
        require(same, what, f"{part} depends on the order of the architectures")
        require(np.array_equal(whole, single, equal_nan=True), what, f"{part} depends on the batch")
    return together


def _raised(what: str, judge: Callable[[Archs], Values]) -> Callable[[Archs], Values]:
    """An error is a broken rule: an architecture without a value is NaN. Those of the toolkit are what they are."""

    def judged(archs: Archs) -> Values:
        try:
            return judge(archs)
        except (HwnasError, KeyboardInterrupt):
            raise
        except BaseException as error:  # whatever it raises is the finding
            raise AssertionError(f"{what}: it raised {text_of(error)}") from error

    return judged


def _judged(values: Values, count: int) -> Values:
    """Values of the right shapes, with intervals around them."""
    require(isinstance(values, Values), "evaluate", f"it must give nas.objectives.Values, got {values!r}")
    for part in ("value", "low", "high", "coverage"):
        column = getattr(values, part)
        if column is None and part != "value":
            continue
        require(
            isinstance(column, np.ndarray) and column.shape == (count,) and column.dtype == np.float64,
            "evaluate",
            f"{part} must be float64 ({count},), got {getattr(column, 'shape', column)!r}",
        )
    require((values.low is None) == (values.high is None), "evaluate", "an interval has both ends or none")
    if values.low is not None and values.high is not None:
        known = np.isfinite(values.value)
        inside = (values.low <= values.value) & (values.value <= values.high)
        require(inside[known].all(), "evaluate", "a value lies outside of its interval")
    if values.coverage is not None:
        share = values.coverage[np.isfinite(values.coverage)]
        require(((share >= 0) & (share <= 1 + _ROUNDING)).all(), "evaluate", "coverage must be within 0..1")
    return values
