"""How sure the front of a study is, from the replicates or the intervals that its objectives came with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Flags, Floats
from nas.certainty import dependence, in_turns, paired, replication
from nas.objectives import Objective
from nas.pareto import noise
from nas.spaces.protocol import Space
from nas.streams import stream
from nas.study.as_measured import AsMeasured, foretold
from nas.study.study import Study, costs_of
from nas.study.trial import Point, Result

#: Standard deviations up to which an architecture off the front is thought to belong on it.
_REACH = 4.0


@dataclass(frozen=True)
class Certainty:
    """How sure a front is.

    Attributes:
        membership: for each point of the front the probability that it is on it; () if no objective has intervals.
        neighbours: neighbouring pairs, as places in the front; () if no objective has intervals.
        next: points to evaluate again, most telling first.
        effective_dimension: see `nas.certainty.dependence.effective_dimension`; None where the front is too small.
        alike: pairs of objectives that rank everything evaluated alike, with their rank correlation.
    """

    membership: tuple[float, ...]
    neighbours: tuple[noise.Neighbours, ...]
    next: tuple[Point, ...]
    effective_dimension: float | None
    alike: tuple[tuple[str, str, float], ...]


def of_study(study: Study, front: list[Point], *, recommended: int = 0) -> Certainty:
    """How sure the front is, against everything feasible that was judged.

    Where all that is uncertain was evaluated several times, by bootstrap of the replicates; else by draws from the
    intervals. Errors of different architectures and objectives count as independent, values without an interval as
    exact, and constraints as met where the value meets them. Draws are seeded by the study's seed.

    Args:
        study: of a run.
        front: its front.
        recommended: how many architectures to name for another evaluation, at most.
    """
    objectives = study.objectives()
    places = {point.trial for point in front}
    points = [*front, *(point for point in study.points() if point.trial not in places)]
    costs = costs_of([point.result for point in points], objectives)
    dimension = dependence.effective_dimension(costs[: len(front)]) if front else None
    alike = tuple(dependence.alike(costs, [objective.name for objective in objectives]))
    if not any(result is not None for point in front for _, *ends in point.result.values() for result in ends):
        return Certainty((), (), (), dimension, alike)
    rng = stream(int(study.fact("seed") or 0), "certainty.draws")
    kept = _rivals(_from_intervals(points, objectives), len(front))
    points = [points[row] for row in kept]
    known = _from_replicates(points, objectives) or _from_intervals(points, objectives)
    drawn, rows = noise.draws(known, rng), np.arange(len(front))
    members = noise.membership(drawn, rows)
    chosen = replication.recommend(known, drawn, rng, recommended, rows=rows) if recommended else []
    return Certainty(
        membership=tuple(float(share) for share in members),
        neighbours=tuple(noise.neighbours(known, rows)),
        next=tuple(points[one.row] for one in chosen),
        effective_dimension=dimension,
        alike=alike,
    )


def separation(
    points: Sequence[Point],
    objectives: tuple[Objective, ...],
    rights: Mapping[str, Sequence[Flags]] | None = None,
    turned: Objective | None = None,
) -> Floats:
    """How far points are apart in the objective in which they are least so, in half-widths, `(n, n)`.

    Above 1 they are told apart in every objective, by the 90 % intervals of their differences. Errors count as
    independent, and values without an interval as exact.

    Args:
        points: of a front.
        objectives: of the search.
        rights: by objective which examples each point gets right, `(n,)` of `(examples,)`; those are compared example
            by example.
        turned: an objective in which they will be measured in turns: ratios of what is predicted count, by what such
            measurements tell apart.
    """
    known = _from_intervals(list(points), objectives)
    first, second = (grid.ravel() for grid in np.indices((len(points), len(points))))
    value, low, high = noise.differences(known, first, second)
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.where(low == high, np.inf, np.abs(value) / ((high - low) / 2))
        for column, objective in enumerate(objectives):
            if rights and objective.name in rights:
                mine, pairs = rights[objective.name], np.zeros((len(points), len(points)))
                for i, j in combinations(range(len(points)), 2):
                    pairs[i, j] = pairs[j, i] = paired.separation(mine[i], mine[j])
                far[:, column] = pairs.ravel()
            elif objective == turned:
                ratio = known.mean[second, column] / known.mean[first, column]
                far[:, column] = np.nan_to_num(np.abs(np.log(ratio)) / in_turns.RESOLUTION, nan=0.0)
    return np.asarray(far.min(axis=1, initial=np.inf).reshape(len(points), len(points)))


def sentence(
    again: AsMeasured, space: Space, objectives: tuple[Objective, ...], facts: Mapping[tuple[int, ...], Any]
) -> str:
    """What became of the measured finalists, and how many neighbours among those that stay are told apart.

    Args:
        again: the front as measured.
        space: of the search.
        objectives: likewise.
        facts: of the finalists: they are compared example by example on those that took no part in the search, and
            those measured in turns by the ratio of their latencies.
    """
    stay = {point.arch for point in again.stay}
    points = [point for point in again.front if point.arch in stay]
    pairs = noise.neighbours(_from_intervals(points, objectives))
    told = sum(_told_apart(pair, points, objectives, facts) for pair in pairs)
    more = f"; {told} of {len(pairs)} neighbours among these are told apart" if pairs else ""
    return again.sentence(space) + more


def _told_apart(
    pair: noise.Neighbours,
    points: Sequence[Point],
    objectives: tuple[Objective, ...],
    facts: Mapping[tuple[int, ...], Any],
) -> bool:
    archs = [points[pair.first].arch, points[pair.second].arch]
    measured = foretold(objectives)
    by_pair = [
        in_turns.told_apart(archs, facts) if objective == measured else paired.told_apart(archs, facts, objective.name)
        for objective in objectives
    ]
    return all(bool(plain) if told is None else told for plain, told in zip(pair.resolved, by_pair, strict=True))


def warning(pair: tuple[str, str, float]) -> str:
    """What it means that two objectives rank alike."""
    first, second, correlation = pair
    if correlation > 0:
        return f"{first} and {second} rank architectures alike (Spearman {correlation:.2f}): one of them would do."
    return (
        f"{first} and {second} rank architectures in reverse (Spearman {correlation:.2f}): nearly all are on a front."
    )


def _from_replicates(points: list[Point], objectives: tuple[Objective, ...]) -> noise.Replicates | None:
    """The single evaluations of all points; None where something is uncertain for another reason."""
    noisy = {name for point in points for name in point.replicates}
    if any(low is not None for p in points for name, (_, low, _) in p.result.items() if name not in noisy):
        return None
    costs = []
    for point in points:
        count = max(map(len, point.replicates.values()), default=1)
        columns = [
            o.cost(np.array(point.replicates.get(o.name) or [point.result[o.name][0]] * count)) for o in objectives
        ]
        rows = np.stack(columns, axis=1)
        costs.append(rows[np.isfinite(rows).all(axis=1)])
    if max(map(len, costs)) < 2 or min(map(len, costs)) < 1:
        return None
    return noise.from_replicates(_archs(points), costs)


def _from_intervals(points: list[Point], objectives: tuple[Objective, ...]) -> noise.Replicates:
    """Costs with the low and high ends of their intervals."""
    results: list[Result] = [point.result for point in points]
    table = np.array([[result[o.name] for o in objectives] for result in results], dtype=np.float64)
    table = table.reshape(len(points), len(objectives), 3)
    ends = np.stack([o.cost(table[:, i]) for i, o in enumerate(objectives)], axis=1)
    return noise.from_intervals(_archs(points), ends[:, :, 0], ends[:, :, 1:].min(axis=2), ends[:, :, 1:].max(axis=2))


def _archs(points: list[Point]) -> NDArray[np.int64]:
    return np.array([point.arch for point in points], dtype=np.int64).reshape(len(points), -1 if points else 0)


def _rivals(known: noise.Replicates, front: int) -> NDArray[np.int64]:
    """The first `front` rows, and those that might dominate one of them."""
    best, worst = known.mean - _REACH * known.sd, known.mean[:front] + _REACH * known.sd[:front]
    near = np.asarray((best[:, None, :] <= worst).all(axis=2))
    return np.flatnonzero(near.any(axis=1) | (np.arange(len(known)) < front))
