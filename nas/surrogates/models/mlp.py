"""A small multilayer perceptron: scikit-learn's."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.arrays import Floats

#: Units of each of the hidden layers.
WIDTHS = (32, 32)
#: Of the optimiser, which takes all rows at once: with few rows it is as good as it gets after some dozens.
STEPS = 40
#: On squared weights, which are few rows' to tell.
PENALTY = 1.0


@dataclass(frozen=True)
class Mlp:
    """A perceptron on standardised columns.

    Attributes:
        center: `(f,)`.
        scale: `(f,)`.
        network: an `MLPRegressor`.
    """

    center: Floats
    scale: Floats
    network: Any

    def predict(self, x: Floats) -> Floats:
        """Costs `(n,)` at `(n, f)`."""
        if not len(x):  # which scikit-learn refuses
            return np.zeros(0)
        return np.asarray(self.network.predict((x - self.center) / self.scale), dtype=np.float64)


def fit(x: Floats, y: Floats, rng: np.random.Generator) -> Mlp:
    """Train on all rows at once, with a penalty on the weights.

    Source: Rumelhart, Hinton & Williams, Nature 323, 1986; by L-BFGS, Liu & Nocedal, Mathematical Programming 45, 1989.
        NSGANetV2 (Lu et al., ECCV 2020) trains three layers of 300 units for 2000 epochs, which takes minutes for each
        choice of a surrogate on one core.

    Args:
        x: `(n, f)`.
        y: `(n,)`, mean 0 and variance 1.
        rng: initial weights.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    center, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    seed = int(rng.integers(1 << 31))
    network = MLPRegressor(hidden_layer_sizes=WIDTHS, solver="lbfgs", alpha=PENALTY, max_iter=STEPS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many steps are all that it gets
        return Mlp(center, scale, network.fit((x - center) / scale, y))


SURROGATE = fit
