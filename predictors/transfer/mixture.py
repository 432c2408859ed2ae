"""Beliefs about one device: Gaussian processes under many hypotheses, averaged by evidence, collapsed to one form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from predictors.transfer.genes import Archs, Floats, Genes, Structure
from predictors.transfer.sources import Prior

#: Parts of the kernel, in this order everywhere.
PARTS = ("constant", "mean", "factors", "shared", "main", "pairs", "structure")
#: Standard deviations, relative to the mean latency, that draws are log-uniform over; `factors` and `mean` are
#: relative to the sources' own spread and mean surface. The last is noise, relative to the level.
RANGES = {
    "constant": (0.2, 0.2),
    "mean": (0.03, 1.0),
    "factors": (0.3, 2.0),
    "shared": (0.02, 0.3),
    "main": (0.01, 0.3),
    "pairs": (0.01, 0.15),
    "structure": (0.01, 0.3),
    "noise": (0.02, 0.1),
}
#: Draws of the standard deviations with the sources, and without them.
DRAWS, DRAWS_ALONE = 400, 200
#: Probability that the sources say nothing of the device; and its weight where samples are chosen: those that suit the
#: sources' directions alone would not find out.
ALONE, ALONE_CHOOSING = 0.1, 0.2
#: Probability that one of the samples is wrong, and how far off: standard deviation relative to the level.
WRONG, WRONG_SD = 0.5, 0.7
#: Lowest level, relative to the mean latency, that noise is proportional to.
LOWEST = 0.3


@dataclass(frozen=True)
class Draws:
    """Hypotheses about the kernel.

    Attributes:
        variances: `(r, 7)`, of `PARTS`.
        noise: `(r,)`, variance of the noise relative to the squared level.
        sourced: `(r,)`, 1 where the prior mean is that of the sources, 0 where the sources are ignored.
        weights: `(r,)`, prior probabilities.
    """

    variances: Floats
    noise: Floats
    sourced: Floats
    weights: Floats

    def expected(self) -> list[tuple[float, Floats, float]]:
        """Weight, variances `(7,)` and noise to choose the first samples by: with the sources, and without them."""
        sides = [(1.0 - ALONE_CHOOSING, self.sourced == 1), (ALONE_CHOOSING, self.sourced == 0)]
        return [
            (weight, self.variances[rows].mean(axis=0), float(self.noise[rows].mean()))
            for weight, rows in sides
            if rows.any()
        ]

    @staticmethod
    def make(rng: np.random.Generator, *, sources: bool, structure: bool, shared: bool) -> Draws:
        """Draw log-uniform ones; a part that the case lacks has variance 0."""
        ranges = np.array(list(RANGES.values()))
        points = rng.random((DRAWS + DRAWS_ALONE, len(ranges)))
        spread = np.exp(np.log(ranges[:, 0]) + points * np.log(ranges[:, 1] / ranges[:, 0]))
        sourced = (np.arange(len(points)) < DRAWS) & sources
        weights = np.where(sourced, (1.0 - ALONE) / DRAWS, ALONE / DRAWS_ALONE) if sources else np.ones(len(points))
        column = {part: i for i, part in enumerate(PARTS)}
        for part in ("mean", "factors"):
            spread[~sourced, column[part]] = 0.0
        for part in ("shared", "main", "structure"):  # alone, they have to say what the sources would have said
            spread[~sourced, column[part]] *= 2.0
        if not structure:
            spread[:, column["structure"]] = 0.0
        if not shared:
            spread[:, column["shared"]] = 0.0
        return Draws(spread[:, :-1] ** 2, spread[:, -1] ** 2, sourced.astype(np.float64), weights / weights.sum())


@dataclass(frozen=True)
class Places:
    """What the kernel needs to know of `n` architectures.

    Attributes:
        contrasts: `(n, width)`.
        mean: `(n,)`, the sources' mean surface; its mean over the space is about 1.
        factors: `(n, k)`.
        shared: `(n, q)`.
        structure: `(n, f)`, standardised.
    """

    contrasts: Floats
    mean: Floats
    factors: Floats
    shared: Floats
    structure: Floats

    @staticmethod
    def of(archs: Archs, genes: Genes, structure: Structure, prior: Prior) -> Places:
        """Compute them of rows `(n, d)`."""
        contrasts, facts = genes.contrasts(archs), structure(archs)
        inputs = np.concatenate([contrasts, facts], axis=1) if facts.shape[1] else contrasts
        return Places(contrasts, 1.0 + inputs @ prior.mean, inputs @ prior.factors.T, contrasts @ genes.shared, facts)

    @cached_property
    def level(self) -> Floats:
        """`(n,)`, what noise is proportional to."""
        return np.maximum(self.mean, LOWEST)

    def __len__(self) -> int:
        return len(self.mean)


def kernels(one: Places, other: Places, genes: Genes) -> Floats:
    """Kernels of all parts with variance 1, `(7, n, m)`."""
    main, pairs = genes.matches(one.contrasts, other.contrasts)
    return np.stack([
        np.ones((len(one), len(other))),
        np.multiply.outer(one.mean, other.mean),
        one.factors @ other.factors.T,
        one.shared @ other.shared.T,
        main,
        pairs,
        one.structure @ other.structure.T / max(one.structure.shape[1], 1),
    ])  # fmt: skip


def diagonals(places: Places, genes: Genes) -> Floats:
    """Kernels of architectures with themselves, `(7, n)`."""
    ones = np.ones(len(places))
    return np.stack([
        ones,
        places.mean**2,
        (places.factors**2).sum(axis=1),
        (places.shared**2).sum(axis=1),
        ones * (genes.free > 0),
        ones * (genes.free > 1),
        (places.structure**2).sum(axis=1) / max(places.structure.shape[1], 1),
    ])  # fmt: skip


@dataclass(frozen=True)
class Weighed:
    """Draws and hypotheses weighed by what was measured.

    Attributes:
        weights: `(r, 1 + n)`, posterior probabilities: no sample is wrong, or the first is, or the second ...
        inverses: `(r, n, n)`, inverse covariances of the samples where none is wrong.
        solved: `(r, n)`, these times the residuals.
        drops: `(r, n)`: under hypothesis `i` the inverse is lessened by `drops[i] * outer(column i, column i)`.
    """

    weights: Floats
    inverses: Floats
    solved: Floats
    drops: Floats


def weigh(
    covariance: Floats, level: Floats, relative: Floats, mean: Floats, draws: Draws, *, step: float = 0.0
) -> Weighed:
    """Marginal likelihood of every draw under `1 + n` hypotheses about the samples.

    Source: Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006, equation 2.30; the hypotheses
        are the variance-inflation model of Box & Tiao, "A Bayesian approach to some outlier problems", Biometrika 55,
        1968, each a rank-one change of the covariance (Sherman & Morrison, 1950).

    Args:
        covariance: `(7, n, n)`, kernels of the samples with each other.
        level: `(n,)`.
        relative: `(n,)`, measured latencies over their scale.
        mean: `(n,)`, the sources' mean surface there.
        draws: the hypotheses about the kernel.
        step: what measured latencies are multiples of, over their scale; 0 if they are not rounded.
    """
    count = len(relative)
    residuals = relative - 1.0 - np.multiply.outer(draws.sourced, mean - 1.0)
    full = np.einsum("rp,pij->rij", draws.variances, covariance)
    full += np.multiply.outer(draws.noise, np.diag(level**2)) + step**2 / 12 * np.eye(count)
    inverses = np.linalg.inv(full)
    solved = np.einsum("rij,rj->ri", inverses, residuals)
    own = np.einsum("rii->ri", inverses)
    extra = (WRONG_SD * level) ** 2
    drops = extra / (1.0 + extra * own)
    plain = -0.5 * ((solved * residuals).sum(axis=1) + np.linalg.slogdet(full)[1])
    wrong = plain[:, None] + 0.5 * (drops * solved**2 - np.log1p(extra * own))
    logs = np.concatenate([plain[:, None] + np.log1p(-WRONG), wrong + np.log(WRONG / count)], axis=1)
    logs += np.log(draws.weights)[:, None]
    weights = np.exp(logs - logs.max())
    return Weighed(weights / weights.sum(), inverses, solved, drops)


@dataclass(frozen=True)
class Collapsed:
    """The mixture's mean and variance: one linear and one quadratic form of `z(x)`.

    `z(x)` holds 1, the mean surface at `x`, and the kernels of the other parts with each of the `n` samples.

    Attributes:
        linear: `(2 + 5n,)`.
        quadratic: `(2 + 5n, 2 + 5n)`, of the second moment.
        variances: `(7,)`, mean variance of each part.
        noise: mean variance of the noise relative to the squared level.
        wrong: `(n,)`, probability that each sample is wrong.
        scale_ms: what all is relative to, ms.
        step: what measured latencies are multiples of, relative; 0 if they are not rounded.
    """

    linear: Floats
    quadratic: Floats
    variances: Floats
    noise: float
    wrong: Floats
    scale_ms: float
    step: float = 0.0

    def moments(self, places: Places, samples: Places, genes: Genes) -> tuple[Floats, Floats]:
        """Mean and variance of relative latency, the noise of a measurement included, `(n,)` each."""
        parts = kernels(places, samples, genes)
        forms = np.concatenate([np.ones((len(places), 1)), places.mean[:, None], *parts[2:]], axis=1)
        mean = forms @ self.linear
        second = np.einsum("ni,ni->n", forms @ self.quadratic, forms) + self.variances @ diagonals(places, genes)
        return mean, np.maximum(second - mean**2, 0.0) + self.noise * places.level**2 + self.step**2 / 12


def collapse(found: Weighed, draws: Draws, sampled_mean: Floats, scale_ms: float, *, step: float = 0.0) -> Collapsed:
    """Collapse the mixture over draws and hypotheses; exact, no draw is left out that weighs more than 1e-9.

    Args:
        found: the weighed hypotheses.
        draws: the same draws.
        sampled_mean: `(n,)`, the sources' mean surface at the samples.
        scale_ms: what latencies were divided by.
        step: as for `weigh`.
    """
    count, parts = len(sampled_mean), len(PARTS)
    totals = found.weights.sum(axis=1)
    linear, outer = np.zeros((parts, count)), np.zeros((parts, parts, count, count))
    known, cross = np.zeros(2), np.zeros((2, parts, count))
    squared = np.zeros((2, 2))
    for r in np.flatnonzero(totals > 1e-9):
        weights, inverse, solved, drops = found.weights[r], found.inverses[r], found.solved[r], found.drops[r]
        each = np.concatenate([solved[None], solved - (drops * solved)[:, None] * inverse])
        mean = weights @ each
        spread = (each * weights[:, None]).T @ each - totals[r] * inverse + (inverse * (weights[1:] * drops)) @ inverse
        base, variances = np.array([1.0 - draws.sourced[r], draws.sourced[r]]), draws.variances[r]
        linear += np.multiply.outer(variances, mean)
        outer += np.multiply.outer(np.outer(variances, variances), spread)
        known += totals[r] * base
        cross += np.multiply.outer(base, np.multiply.outer(variances, mean))
        squared += totals[r] * np.outer(base, base)
    # Constant and mean surface are the same column of z for all samples.
    into: list[NDArray[np.float64]] = [np.ones((1, count)), sampled_mean[None], *[np.eye(count)] * (parts - 2)]
    first = np.concatenate([m @ v for m, v in zip(into, linear, strict=True)])
    first[:2] += known
    second = np.concatenate(
        [np.concatenate([into[p] @ outer[p, q] @ into[q].T for q in range(parts)], axis=1) for p in range(parts)]
    )
    mixed = np.stack([np.concatenate([m @ v for m, v in zip(into, cross[i], strict=True)]) for i in range(2)])
    second[:2] += mixed
    second[:, :2] += mixed.T
    second[:2, :2] += squared
    wrong = found.weights[:, 1:].sum(axis=0)
    return Collapsed(first, second, totals @ draws.variances, float(totals @ draws.noise), wrong, scale_ms, step)
