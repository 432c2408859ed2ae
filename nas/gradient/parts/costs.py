"""Predicted costs of architectures, as numbers."""

from __future__ import annotations

import numpy as np

from nas.arrays import Archs, Floats
from nas.gradient.protocol import DifferentiableCost


def one_hot(cost: DifferentiableCost, archs: Archs, choices: tuple[int, ...]) -> Floats:
    """The predicted cost of `(n, d)` architectures, `(n,)`: that of probabilities which are 0 and 1."""
    import torch

    rows = [
        torch.nn.functional.one_hot(torch.from_numpy(np.ascontiguousarray(archs[:, gene])), options).double()
        for gene, options in enumerate(choices)
    ]
    with torch.no_grad():
        return np.asarray(cost(rows).numpy(), dtype=np.float64)
