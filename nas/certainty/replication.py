"""What to evaluate once more, where costs are uncertain: whatever makes the front most certain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats
from nas.pareto.noise import Replicates, belongs

#: Standard deviations of chance that a gain must exceed.
_CHANCE = 3.0


@dataclass(frozen=True)
class Recommendation:
    """What to evaluate next.

    Attributes:
        row: of the architecture.
        gain: by how much one more evaluation of it is expected to lower the sum of `p (1 - p)`, `p` being the
            probabilities of membership; beyond what those before it do.
    """

    row: int
    gain: float


def recommend(
    replicates: Replicates,
    drawn: Floats,
    rng: np.random.Generator,
    count: int = 1,
    *,
    rows: NDArray[np.int64] | None = None,
) -> list[Recommendation]:
    """Which architectures to evaluate once more, so that membership of the front gets most certain; greedily.

    The expected drop of `p (1 - p)` is the variance of the expected membership given what the evaluation will say. That
    expectation is a regression, over the draws, of membership on simulated evaluations, so nothing is simulated twice.

    Source: Strong, Oakley & Brennan, "Estimating multiparameter partial expected value of perfect information from a
        probabilistic sensitivity analysis sample", Medical Decision Making 34(3), 2014; the criterion as in Bect et
        al., "Sequential design of computer experiments for the estimation of a probability of failure", Statistics and
        Computing 22, 2012.

    Args:
        replicates: `n` architectures.
        drawn: `(draws, n, m)`, see `draws`.
        rng: randomness of the simulated evaluations.
        count: how many at most.
        rows: `(k,)`, whose membership matters; all if None.

    Returns:
        The best first; fewer than `count` where no further evaluation stands out from chance.
    """
    members = belongs(drawn, rows).astype(np.float64)
    left = members - members.mean(axis=0)
    simulated = drawn + replicates.once * rng.standard_normal(drawn.shape)
    bases = [_basis(simulated[:, index, replicates.sd[index] > 0]) for index in range(len(replicates))]
    found: list[Recommendation] = []
    for _ in range(min(count, len(bases))):
        gains = [_explained(basis, left) for basis in bases]
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        found.append(Recommendation(best, gains[best]))
        chosen = bases[best]
        left = left - chosen @ (chosen.T @ left)
        bases = [
            np.empty((len(left), 0)) if index == best else _orthonormal(basis - chosen @ (chosen.T @ basis))
            for index, basis in enumerate(bases)
        ]
    return found


def _basis(values: Floats) -> Floats:
    """Orthonormal columns `(draws, q)`, without the constant: cubic in each of `(draws, m)` values, and products."""
    scaled = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-300)
    columns = [scaled[:, i] ** power for i in range(scaled.shape[1]) for power in (1, 2, 3)]
    columns += [scaled[:, i] * scaled[:, j] for i in range(scaled.shape[1]) for j in range(i)]
    if not columns:
        return np.empty((len(values), 0))
    matrix = np.stack(columns, axis=1)
    return _orthonormal(matrix - matrix.mean(axis=0))


def _orthonormal(matrix: Floats) -> Floats:
    """An orthonormal basis of the columns, without those that depend on others."""
    left, sizes, _ = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray(left[:, sizes > 1e-9 * max(float(sizes.max(initial=0.0)), 1e-300)])


def _explained(basis: Floats, left: Floats) -> float:
    """Variance of `left` that the basis explains, summed, less what that many columns explain by chance.

    What is within `_CHANCE` standard deviations of chance is 0.
    """
    count, columns = basis.shape
    if columns == 0 or count <= columns + 1:
        return 0.0
    fitted = ((basis.T @ left) ** 2).sum() / count
    rest = (left**2).sum() / count - fitted
    gain = fitted - rest * columns / (count - columns - 1)
    return float(gain) if gain > _CHANCE * rest * np.sqrt(2 * columns) / count else 0.0
