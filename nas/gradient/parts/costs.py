"""Predicted costs of architectures, as numbers."""

from __future__ import annotations

import numpy as np

from nas.arrays import Archs, Floats
from nas.gradient.protocol import DifferentiableCost, GradientProblem


def one_hot(cost: DifferentiableCost, archs: Archs, choices: tuple[int, ...]) -> Floats:
    """The predicted cost of `(n, d)` architectures, `(n,)`: that of probabilities which are 0 and 1."""
    import torch

    rows = [
        torch.nn.functional.one_hot(torch.from_numpy(np.ascontiguousarray(archs[:, gene])), options).double()
        for gene, options in enumerate(choices)
    ]
    with torch.no_grad():
        return np.asarray(cost(rows).numpy(), dtype=np.float64)


def costs_of(problem: GradientProblem, archs: Archs) -> Floats:
    """Predicted costs of `(n, d)` architectures, `(n, m)`."""
    columns = [one_hot(price.cost, archs, problem.space.choices) for price in problem.priced]
    return np.stack([column.reshape(len(archs)) for column in columns], axis=1)


def excess(problem: GradientProblem, costs: Floats) -> Floats:
    """How far costs `(n, m)` are beyond the bounds, each as a share of its bound, `(n,)`; 0 within all of them."""
    total = np.zeros(len(costs))
    for price, column in zip(problem.priced, costs.T, strict=True):
        if price.bound is not None:
            total += np.maximum(column - price.bound, 0) / max(abs(price.bound), 1e-12)
        if price.floor is not None:
            total += np.maximum(price.floor - column, 0) / max(abs(price.floor), 1e-12)
    return total
