"""What other devices say of a new one before and after a few of its latencies are known: a Gaussian prior of surfaces.

Every source device is one surface of main effects, divided by its scale. A new device is their mean, plus any mix of
their deviations, plus main effects and pairs of genes of its own; how much of each is not fixed but averaged by
evidence, so that sources that are far from the new device do not hurt.

Source: Rasmussen and Williams, "Gaussian processes for machine learning", 2006, sections 2.2 and 5.4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from predictors.differentiable import _main_effects
from predictors.differentiable.protocol import Archs, Floats
from predictors.differentiable.surface import contrasts

#: Number of prior scales that are averaged, and their ranges: sources' deviations, own main effects, own pairs, noise,
#: all relative to a latency of 1; drawn log-uniformly.
DRAWS = 128
RANGES = ((0.1, 3.0), (0.01, 0.5), (0.003, 0.2), (0.01, 0.2))
#: The scales that references are chosen under: the middle of the ranges.
_MIDDLE = tuple(float(np.sqrt(low * high)) for low, high in RANGES)


def draw_scales(rng: np.random.Generator) -> Floats:
    """`(DRAWS, 4)` prior scales."""
    low, high = np.log(np.array(RANGES)).T
    return np.exp(rng.uniform(low, high, (DRAWS, len(RANGES))))


@dataclass(frozen=True)
class Prior:
    """A prior of devices, and the architectures that a new one is measured at.

    Attributes:
        choices: options per gene.
        anchors: `(k, d)`, the reference architectures.
        surfaces: `(t, 1 + options of all genes)`, of the sources, relative to each one's scale.
        scales: `(h, 4)`, see `RANGES`.
    """

    choices: tuple[int, ...]
    anchors: Archs
    surfaces: Floats
    scales: Floats

    def posterior(self, vectors: Floats) -> tuple[Floats, Floats, Floats]:
        """What is believed of devices, given what the references take there.

        Args:
            vectors: `(m, k)`, latencies of the references, relative to each device's scale.

        Returns:
            Effects `(m, 1 + options of all genes)`, cost of each agreeing pair of genes `(m, k)`, and logarithms of the
            prior scales as the evidence has them `(m, 4)`: how unlike the sources and how little additive a device is.
        """
        mean = self.surfaces.mean(axis=0)
        rows = self._rows(self.anchors)
        expected = rows @ mean
        noise = np.diag(np.maximum(expected, 0.1) ** 2)
        factors = rows @ self._factors.T
        own, pairs = self._kernels(self.anchors, self.anchors)
        squared = self.scales**2
        kernels = np.stack([factors @ factors.T, own, pairs, noise])
        matrices = np.tensordot(squared, kernels, axes=1)
        solved = np.linalg.solve(matrices, np.broadcast_to((vectors - expected).T, (len(squared), *vectors.T.shape)))
        fitted = np.einsum("mk,hkm->hm", vectors - expected, solved)
        evidence = -0.5 * fitted - 0.5 * np.linalg.slogdet(matrices)[1][:, None]
        weights = np.exp(evidence - evidence.max(axis=0))
        weights /= weights.sum(axis=0)
        shared, alone, paired = np.einsum("hm,hs,hkm->smk", weights, squared[:, :3], solved)
        count, total = len(self.choices), self._pair_count
        beside = np.hstack([np.ones((len(rows), 1)), contrasts(self.choices, self.anchors) / count])
        effects = mean + shared @ factors @ self._factors + alone @ beside
        return effects, paired / total, weights.T @ np.log(self.scales)

    def values(self, effects: Floats, pairs: Floats, archs: Archs) -> Floats:
        """`(m, n)`: latencies of `(n, d)` architectures under `m` posteriors, relative to each device's scale."""
        return effects @ self._rows(archs).T + pairs @ (self._kernels(self.anchors, archs)[1] * self._pair_count)

    def choose(self, pool: Archs, count: int) -> Archs:
        """Rows of the pool whose measurement leaves the least total variance over it, greedily.

        Source: A-optimal design, Chaloner and Verdinelli, "Bayesian experimental design", Statistical Science 10(3),
        1995, section 2.2.

        Args:
            pool: `(n, d)`, n >= count.
            count: how many to choose.

        Returns:
            `(count,)`, rows in the order of choice.
        """
        factors = self._rows(pool) @ self._factors.T
        own, pairs = self._kernels(pool, pool)
        shared, alone, paired, noise = (scale**2 for scale in _MIDDLE)
        covariance = shared * factors @ factors.T + alone * own + paired * pairs
        level = noise * np.maximum(self._rows(pool) @ self.surfaces.mean(axis=0), 0.1) ** 2
        chosen: list[int] = []
        for _ in range(count):
            gain = (covariance**2).sum(axis=0) / (np.diag(covariance) + level)
            gain[chosen] = -np.inf
            best = int(np.argmax(gain))
            chosen.append(best)
            along = covariance[best] / np.sqrt(covariance[best, best] + level[best])
            covariance = covariance - np.outer(along, along)
        return np.array(chosen)

    def _rows(self, archs: Archs) -> Floats:
        return np.hstack([np.ones((len(archs), 1)), _main_effects.one_hot(self.choices, archs)])

    @cached_property
    def _factors(self) -> Floats:
        deviations = self.surfaces - self.surfaces.mean(axis=0)
        return np.asarray(deviations / np.sqrt(max(len(deviations) - 1, 1)))

    @property
    def _pair_count(self) -> float:
        return max(len(self.choices) * (len(self.choices) - 1) / 2, 1.0)

    def _kernels(self, left: Archs, right: Archs) -> tuple[Floats, Floats]:
        """Covariance of main effects with a constant, and of pairs of genes: `(n, m)`, about 1 where rows agree."""
        once, twice = contrasts(self.choices, left), contrasts(self.choices, right)
        level = _main_effects.level(self.choices)
        first = once @ twice.T
        # (match - 1 / options)^2 is linear in the match, which is 0 or 1: the squares are a weighted sum of matches.
        second = self._matches(left, right, (1 - level) ** 2 - level**2) + float((level**2 * level).sum())
        return 1.0 + first / len(self.choices), (first**2 - second) / 2 / self._pair_count

    def _matches(self, left: Archs, right: Archs, weight: Floats) -> Floats:
        return np.asarray(
            (_main_effects.one_hot(self.choices, left) * weight) @ _main_effects.one_hot(self.choices, right).T
        )
