"""How sure the front of a study is, from the intervals that its objectives came with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas import dependence, noise, replication, spaces
from nas.loop import feasible_costs
from nas.objectives import Objective
from nas.study import Point, Result, Study, costs_of

Floats = NDArray[np.float64]

#: Standard deviations up to which an architecture off the front is thought to belong on it.
_REACH = 4.0


@dataclass(frozen=True)
class Certainty:
    """How sure a front is.

    Attributes:
        membership: for each point of the front the probability that it is on it; () if no objective has intervals.
        neighbours: neighbouring pairs, as places in the front; () if no objective has intervals.
        next: what to evaluate again, most telling first, as architectures.
        effective_dimension: see `nas.dependence.effective_dimension`; None where the front is too small.
        alike: pairs of objectives that rank everything evaluated alike, with their rank correlation.
    """

    membership: tuple[float, ...]
    neighbours: tuple[noise.Neighbours, ...]
    next: tuple[tuple[int, ...], ...]
    effective_dimension: float | None
    alike: tuple[tuple[str, str, float], ...]


def of_study(study: Study, front: list[Point], *, recommended: int = 0) -> Certainty:
    """How sure the front is, against everything feasible that was judged.

    Errors of different architectures and objectives count as independent, values without an interval as exact, and
    constraints as met where the value meets them. Draws are seeded by the study's seed.

    Args:
        study: of a run.
        front: its front.
        recommended: how many architectures to name for another evaluation, at most.
    """
    objectives = study.objectives()
    costs = costs_of([point.result for point in front], objectives)
    dimension = dependence.effective_dimension(costs) if front else None
    alike = tuple(dependence.alike(feasible_costs(study), [objective.name for objective in objectives]))
    if not any(result is not None for point in front for _, *ends in point.result.values() for result in ends):
        return Certainty((), (), (), dimension, alike)
    rng = np.random.default_rng([int(study.fact("seed") or 0), 11])
    archs, results = _everything(study, front, objectives)
    values, low, high = _intervals(results, objectives)
    known = noise.from_intervals(archs, values, low, high)
    kept = _rivals(known, len(front))
    known = noise.from_intervals(archs[kept], values[kept], low[kept], high[kept])
    drawn, rows = noise.draws(known, rng), np.arange(len(front))
    members = noise.membership(drawn, rows)
    chosen = replication.recommend(known, drawn, rng, recommended, rows=rows) if recommended else []
    return Certainty(
        membership=tuple(float(share) for share in members),
        neighbours=tuple(noise.neighbours(known, rows)),
        next=tuple(tuple(int(gene) for gene in known.archs[one.row]) for one in chosen),
        effective_dimension=dimension,
        alike=alike,
    )


def warning(pair: tuple[str, str, float]) -> str:
    """What it means that two objectives rank alike."""
    first, second, correlation = pair
    if correlation > 0:
        return f"{first} and {second} rank architectures alike (Spearman {correlation:.2f}): one of them would do."
    return (
        f"{first} and {second} rank architectures in reverse (Spearman {correlation:.2f}): nearly all are on a front."
    )


def _everything(
    study: Study, front: list[Point], objectives: tuple[Objective, ...]
) -> tuple[NDArray[np.int64], list[Result]]:
    """Distinct feasible architectures that were judged, those of the front first, and their results."""
    candidates = [(point.arch, point.result) for point in front]
    trials = [trial for trial in study.trials() if trial.result is not None]
    feasible = np.isfinite(feasible_costs(study, trials))
    for trial, good in zip(trials, feasible, strict=True):
        if trial.result is not None and good.all():
            candidates.append((trial.arch, trial.result))
    archs = np.array([arch for arch, _ in candidates], dtype=np.int64)
    networks = spaces.load(study.fact("space")).canonical(archs)
    found: dict[tuple[object, ...], int] = {}
    for place, (network, (_, result)) in enumerate(zip(networks, candidates, strict=True)):
        found.setdefault((*network.tolist(), *(result[o.name][0] for o in objectives)), place)
    rows = list(found.values())
    return archs[rows], [candidates[row][1] for row in rows]


def _intervals(results: list[Result], objectives: tuple[Objective, ...]) -> tuple[Floats, Floats, Floats]:
    """Costs with the low and high ends of their intervals, each `(n, m)`; NaN where there is no interval."""
    table = np.array([[result[o.name] for o in objectives] for result in results], dtype=np.float64)
    ends = np.stack([o.cost(table[:, i]) for i, o in enumerate(objectives)], axis=1)
    return ends[:, :, 0], ends[:, :, 1:].min(axis=2), ends[:, :, 1:].max(axis=2)


def _rivals(known: noise.Replicates, front: int) -> NDArray[np.int64]:
    """The first `front` rows, and those that might dominate one of them."""
    best, worst = known.mean - _REACH * known.sd, known.mean[:front] + _REACH * known.sd[:front]
    near = np.asarray((best[:, None, :] <= worst).all(axis=2))
    return np.flatnonzero(near.any(axis=1) | (np.arange(len(known)) < front))
