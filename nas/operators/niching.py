"""Who survives by reference directions: normalisation, association and niches of NSGA-III."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Floats
from nas.operators.selection import Survivors
from nas.pareto import dominance

Ints = NDArray[np.int64]

#: Weight of the other axes in the search for the extreme point of one.
_OFF_AXIS = 1e6
#: What is nearer to the ideal than this share of the front counts as on it, while extreme points are searched.
_ON_IDEAL = 1e-3
#: Least length of an axis as a share of the front; below it the hyperplane says nothing.
_LEAST = 1e-6


@dataclass(frozen=True)
class Frame:
    """What normalisation remembers of former generations.

    Attributes:
        ideal: `(m,)`, least cost so far in each objective; infinite before anything was seen.
        worst: `(m,)`, largest so far; minus infinity before anything was seen.
        extremes: `(k, m)`, costs of the points that reach farthest along each axis; `k` is 0 or `m`.
    """

    ideal: Floats
    worst: Floats
    extremes: Floats


@dataclass(frozen=True)
class Niched:
    """Rows that survive.

    Attributes:
        rows: `(k,)` indices, better ranks first.
        ranks: `(k,)`, as in `nas.pareto.dominance.ranks`.
        niches: `(k,)`, index of the nearest direction; -1 for infeasible points and failures.
        distances: `(k,)` to that direction, of normalised costs; infinite for infeasible points and failures.
        frame: for the next generation.
    """

    rows: Ints
    ranks: Ints
    niches: Ints
    distances: Floats
    frame: Frame


class Niches:
    """Selection by reference directions that remembers former generations.

    Args:
        directions: `(h, m)`.
    """

    def __init__(self, directions: Floats) -> None:
        self.directions = directions
        self.frame = start(directions.shape[1])

    def select(self, costs: Floats, violations: Floats, count: int, rng: np.random.Generator) -> Survivors:
        """Survivors of rows `(n, m)`, all equals within a rank; see `survivors`."""
        kept = survivors(costs, violations, count, self.directions, self.frame, rng)
        self.frame = kept.frame
        return Survivors(kept.rows, kept.ranks, np.zeros(len(kept.rows)))


def start(objectives: int) -> Frame:
    """The frame before anything was seen."""
    return Frame(np.full(objectives, np.inf), np.full(objectives, -np.inf), np.empty((0, objectives)))


def survivors(
    costs: Floats, violations: Floats, count: int, directions: Floats, frame: Frame, rng: np.random.Generator
) -> Niched:
    """The better of all by rank; the last rank that has no room for all of it fills the emptiest niches.

    Feasible points come first, then infeasible ones by how much they violate, then failures; chance decides between
    equals of these.

    Source: Deb & Jain, "An evolutionary many-objective optimization algorithm using reference-point-based
        nondominated sorting approach, part I", IEEE TEVC 18(4), 2014, section IV; constraints as in part II (Jain &
        Deb, the same issue), section II-A.

    Args:
        costs: `(n, m)`; rows that are not finite are failures.
        violations: `(n,)`, 0 where feasible.
        count: how many survive, if there are so many.
        directions: `(h, m)`, at least 0 and not all 0 in a row.
        frame: of the generation before, or `start(m)`.
        rng: of all chance.

    Raises:
        UsageError: the shapes do not fit, or a direction is 0 or negative.
    """
    costs, directions = np.asarray(costs, dtype=np.float64), np.asarray(directions, dtype=np.float64)
    if costs.ndim != 2 or directions.ndim != 2 or directions.shape[1:] != costs.shape[1:] or len(directions) == 0:
        raise UsageError(
            f"costs must be (n, m) and directions (h, m) with h >= 1, got shapes {costs.shape} and {directions.shape}"
        )
    if not (directions >= 0).all() or not directions.any(axis=1).all():
        raise UsageError("directions must be at least 0, and none of them 0 in all objectives")
    ranks = dominance.ranks(costs, violations)
    feasible = np.isfinite(costs).all(axis=1) & (np.nan_to_num(violations, nan=np.inf) <= 0)
    niches, distances = np.full(len(costs), -1, dtype=np.int64), np.full(len(costs), np.inf)
    if feasible.any():
        frame, lengths = renewed(frame, costs[feasible], ranks[feasible] == 0)
        niches[feasible], distances[feasible] = associated((costs[feasible] - frame.ideal) / lengths, directions)
    kept = np.empty(0, dtype=np.int64)
    for level in range(int(ranks.max(initial=-1)) + 1):
        front = np.flatnonzero(ranks == level)
        room = count - len(kept)
        if room <= 0:
            break
        if len(front) > room and feasible[front[0]]:
            crowd = np.bincount(niches[kept], minlength=len(directions))
            front = front[filled(niches[front], distances[front], crowd, room, rng)]
        elif len(front) > room:
            front = np.sort(rng.permutation(front)[:room])
        kept = np.concatenate([kept, front])
    return Niched(kept, ranks[kept], niches[kept], distances[kept], frame)


def renewed(frame: Frame, costs: Floats, front: NDArray[np.bool_]) -> tuple[Frame, Floats]:
    """The frame with a generation more, and how long the axes of normalisation are now.

    An axis ends where the hyperplane through the extreme points meets it; where there is no such plane, at the largest
    cost on the front, and where that is the ideal, at the largest of all.

    Source: Deb & Jain, 2014, section IV-C; the extreme points of former generations stay candidates, and the axes end
        at the worst cost so far, as in Blank, Deb & Roy, "Investigating the normalization procedure of NSGA-III", EMO
        2019.

    Args:
        frame: of the generation before.
        costs: `(n, m)`, finite and feasible, at least one.
        front: `(n,)`: which of them are non-dominated.

    Returns:
        The frame, and `(m,)` lengths above 0.
    """
    ideal, worst = np.minimum(frame.ideal, costs.min(axis=0)), np.maximum(frame.worst, costs.max(axis=0))
    reach = costs[front].max(axis=0) - ideal
    unit = np.where(reach > 0, reach, 1.0)
    candidates = np.concatenate([frame.extremes, costs[front]])
    offsets = (candidates - ideal) / unit
    offsets[offsets < _ON_IDEAL] = 0.0
    weights = np.where(np.eye(len(ideal), dtype=np.bool_), 1.0, _OFF_AXIS)
    extremes = candidates[(offsets[:, None, :] * weights).max(axis=2).argmin(axis=0)]
    lengths = _intercepts((extremes - ideal) / unit)
    lengths = reach if lengths is None else np.minimum(lengths * unit, worst - ideal)
    lengths = np.where(lengths > 0, lengths, worst - ideal)
    return Frame(ideal, worst, extremes), np.where(lengths > 0, lengths, 1.0)


def associated(points: Floats, directions: Floats) -> tuple[Ints, Floats]:
    """The direction that each point is nearest to, `(n,)`, and how far from it, `(n,)`.

    Source: Deb & Jain, 2014, section IV-D.

    Args:
        points: `(n, m)`, normalised: the ideal is 0.
        directions: `(h, m)`, of any length above 0; the first of equally near ones wins.
    """
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    along = points @ units.T
    squared = np.maximum((points**2).sum(axis=1, keepdims=True) - along**2, 0.0)
    nearest = squared.argmin(axis=1)
    return nearest, np.sqrt(squared[np.arange(len(points)), nearest])


def filled(niches: Ints, distances: Floats, crowd: Ints, room: int, rng: np.random.Generator) -> Ints:
    """Which points enter, one by one, each into the emptiest niche that has any left, `(room,)` indices.

    Into a niche without members comes the point nearest to its direction, into another any.

    Source: Deb & Jain, 2014, section IV-E.

    Args:
        niches: `(n,)`, of the points of the last front.
        distances: `(n,)` to the direction of the niche.
        crowd: `(h,)`, members that each niche has already.
        room: how many enter, at most n.
        rng: which of equally empty niches is first, and which of its points.
    """
    members = crowd.astype(np.int64)
    shuffled = rng.permutation(len(niches))
    waiting: dict[int, list[int]] = {}
    for index in shuffled:
        waiting.setdefault(int(niches[index]), []).append(int(index))
    found: list[int] = []
    while len(found) < room:
        names = np.array(sorted(waiting), dtype=np.int64)
        emptiest = names[members[names] == members[names].min()]
        for niche in rng.permutation(emptiest)[: room - len(found)].tolist():
            queue = waiting[niche]
            place = int(np.argmin(distances[queue])) if members[niche] == 0 else 0
            found.append(queue.pop(place))
            members[niche] += 1
            if not queue:
                del waiting[niche]
    return np.array(found, dtype=np.int64)


def _intercepts(extremes: Floats) -> Floats | None:
    """Where the plane through `(m, m)` points meets the axes, `(m,)`; None where it does not meet all of them."""
    try:
        plane = np.asarray(np.linalg.solve(extremes, np.ones(len(extremes))), dtype=np.float64)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(plane).all() or (plane <= 0).any() or not np.allclose(extremes @ plane, 1.0):
        return None
    return np.asarray(1.0 / plane) if (plane < 1.0 / _LEAST).all() else None
