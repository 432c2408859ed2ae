"""What an evaluation is expected to add to the hypervolume, where some objectives are known and others are believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.arrays import Floats
from nas.pareto import dominance

#: Costs are believed in `log(cost - shift)`; exponents beyond this would overflow.
_LARGEST_EXPONENT = 60.0


@dataclass(frozen=True)
class Scale:
    """The scale on which a cost is believed to be normal: its logarithm above a shift, standardised.

    Attributes:
        shift: below all costs.
        mean: of `log(cost - shift)`.
        deviation: of it.
        ceiling: costs above are all alike: what is that bad need not be told apart.
    """

    shift: float
    mean: float
    deviation: float
    ceiling: float

    def forward(self, costs: Floats) -> Floats:
        """Standardised logarithms, of the same shape."""
        room = np.maximum(np.minimum(costs, self.ceiling) - self.shift, 1e-3 * (self.ceiling - self.shift))
        return np.asarray((np.log(room) - self.mean) / self.deviation)

    def backward(self, values: Floats) -> Floats:
        """Costs of standardised logarithms, of the same shape; of a normal's mean, the median cost."""
        exponent = np.minimum(values * self.deviation + self.mean, _LARGEST_EXPONENT)
        return np.asarray(self.shift + np.exp(exponent))

    def improvement(self, levels: Floats, mean: Floats, deviation: Floats) -> Floats:
        """Expected improvement of a cost below levels, in closed form, `(N, k)`.

        Source: Jones, Schonlau & Welch, "Efficient global optimization", J. Global Optimization 13, 1998, for a
            log-normal cost.

        Args:
            levels: `(k,)`, costs.
            mean: `(N,)`, standardised.
            deviation: `(N,)`, standardised.
        """
        from scipy.special import ndtr

        centre, width = (mean * self.deviation + self.mean)[:, None], (deviation * self.deviation)[:, None]
        room = np.maximum(levels - self.shift, 1e-12)
        place = (np.log(room) - centre) / width
        average = np.exp(np.minimum(centre + 0.5 * width**2, _LARGEST_EXPONENT))
        return np.asarray(np.maximum(room * ndtr(place) - average * ndtr(place - width), 0.0))


def scale_of(costs: Floats, *, margin: float = 0.5, clip: float = 1.0) -> Scale:
    """The scale of a sample of costs.

    Args:
        costs: `(n,)`, finite.
        margin: how far below the least cost the shift is, as a share of the distance to the median.
        clip: quantile above which costs are alike.
    """
    low, middle, ceiling = float(costs.min()), float(np.median(costs)), float(np.quantile(costs, clip))
    spread = max(middle - low, 1e-3 * (float(costs.max()) - low), 1e-9 * max(abs(low), 1.0))
    shift = low - margin * spread
    ceiling = max(ceiling, low + spread)
    logs = np.log(np.minimum(costs, ceiling) - shift)
    return Scale(shift, float(logs.mean()), float(max(logs.std(), 1e-6)), ceiling)


def staircase_improvement(
    scale: Scale,
    mean: Floats,
    deviation: Floats,
    known: Floats,
    front: Floats,
    reference: tuple[float, float],
) -> Floats:
    """Expected hypervolume improvement with one believed and one known objective, in closed form, `(N,)`.

    The improvement is the integral, from the candidate's known cost to the reference, of what its believed cost is
    expected to lie below the front's staircase. Source of the expectation: Emmerich, Deutz & Klinkenberg,
    "Hypervolume-based expected improvement", CEC 2011, for the case of one deterministic objective.

    Args:
        scale: of the believed objective.
        mean: `(N,)`, standardised.
        deviation: `(N,)`.
        known: `(N,)`.
        front: `(k, 2)`, believed and known costs of what was evaluated.
        reference: worst costs that count, believed and known.
    """
    levels, edges = _staircase(front, reference, float(known.min(initial=reference[1])))
    improvement = scale.improvement(levels, mean, deviation)
    widths = np.clip(edges[None, 1:] - np.maximum(edges[None, :-1], known[:, None]), 0.0, None)
    return np.asarray((improvement * widths).sum(axis=1))


def _staircase(front: Floats, reference: tuple[float, float], start: float) -> tuple[Floats, Floats]:
    """Best believed cost `(k,)` on each interval of the known one, whose edges are `(k + 1,)`."""
    inside = front[(front < np.array(reference)).all(axis=1)]
    steps = inside[dominance.nondominated(inside)]
    steps = np.unique(steps, axis=0)
    steps = steps[np.argsort(steps[:, 1], kind="stable")]
    levels = np.concatenate([[reference[0]], steps[:, 0]])
    edges = np.concatenate([[min(start, reference[1])], steps[:, 1], [reference[1]]])
    return levels, edges


def scalarised_improvement(costs: Floats, front: Floats, reference: Floats, directions: Floats) -> Floats:
    """Hypervolume improvement for any number of objectives, by random hypervolume scalarisations, `(N,)`.

    Up to a constant; of costs that are drawn from what is believed, the mean is the expected improvement.

    Source: Golovin & Zhang, "Random hypervolume scalarizations for provable multi-objective black box optimization",
        ICML 2020, lemma 5: hypervolume is the mean over directions of the largest `min_i((r_i - y_i) / w_i)^m`.

    Args:
        costs: `(N, m)`.
        front: `(k, m)`, costs of what was evaluated.
        reference: `(m,)`.
        directions: `(L, m)`, on the positive part of the unit sphere.
    """
    power = costs.shape[1]
    best = _reach(front, reference, directions).max(axis=0) if len(front) else np.zeros(len(directions))
    reached = np.maximum(_reach(costs, reference, directions), best)
    return np.asarray((reached**power - best**power).mean(axis=1))


def _reach(costs: Floats, reference: Floats, directions: Floats) -> Floats:
    """How far along each direction, from the reference, a point dominates, `(n, L)`."""
    gap = np.maximum(reference - costs, 0.0)
    reached = np.full((len(costs), len(directions)), np.inf)
    for objective in range(costs.shape[1]):
        reached = np.minimum(reached, gap[:, objective, None] / directions[None, :, objective])
    return reached


def sphere(count: int, objectives: int, rng: np.random.Generator) -> Floats:
    """Random directions on the positive part of the unit sphere, `(count, m)`."""
    drawn = np.abs(rng.standard_normal((count, objectives))) + 1e-9
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
