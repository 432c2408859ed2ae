"""Noise is resolved: what makes the front most certain is evaluated again, after the search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from nas.certainty import of_study
from nas.evaluators.protocol import Evaluator, Repeatable, within
from nas.loop import guard, judging
from nas.objectives import Values
from nas.study.study import Study
from nas.study.trial import Point

Progress = Callable[[str, int, int], None]

#: Architectures that are recommended at once; what was learned of them counts for the next ones.
_ROUND = 4


def resolve(
    study: Study,
    evaluators: Sequence[Evaluator],
    count: int,
    *,
    seconds: float | None = None,
    progress: Progress = lambda what, done, total: None,
) -> int:
    """Evaluate again what makes the front most certain, until nothing more stands out.

    While no architecture of the front was evaluated twice, all of them are, as noise cannot be seen before; then those
    that `nas.certainty.replication.recommend` names. Each evaluation is committed at once, and what was done before
    counts, so that a killed call goes on. What strategies were told stays as it is.

    Args:
        study: of a search.
        evaluators: of its objectives; those that are `Repeatable` are asked again.
        count: evaluations of one architecture each, at most, all calls together.
        seconds: for each, or None.
        progress: told `(what, done, total)`.

    Returns:
        How many were made, all calls together.

    Raises:
        UsageError: no objective can be evaluated again.
    """
    judges = judging.repeatable(evaluators)
    most = min((judge.most for judge in judges if judge.most is not None), default=None)
    done = study.evaluated_again
    while done < count:
        chosen = [point for point in _chosen(study) if most is None or _evaluated(point) < most][: count - done]
        if not chosen:
            break
        for point in chosen:
            progress("evaluating again", done, count)
            _evaluate(study, judges, point, seconds)
            done += 1
    progress("evaluating again", done, done)
    return done


def _chosen(study: Study) -> list[Point]:
    """Points to evaluate again."""
    front = study.front()
    if all(not point.replicates for point in front):
        return front
    once = [point for point in front if not point.replicates]
    return once or list(of_study.of_study(study, front, recommended=_ROUND).next)


def _evaluated(point: Point) -> int:
    return max(map(len, point.replicates.values()), default=1)


def _evaluate(study: Study, judges: Sequence[Repeatable], point: Point, seconds: float | None) -> None:
    """One further evaluation of a point; NaN where it fails."""
    arch, replicate = np.array([point.arch], dtype=np.int64), _evaluated(point)
    values = {}
    for judge in judges:
        found: Values = guard.evaluate(
            within(partial(judge.again, replicate=replicate), point.budgets.get(judge.objective.name)),
            arch,
            seconds=seconds,
            failed=lambda row, reason: None,
        )
        values[judge.objective.name] = float(found.value[0])
    study.add_replicate(point, values)
