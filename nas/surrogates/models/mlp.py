"""A small multilayer perceptron: scikit-learn's."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.arrays import Floats

#: Units of each of the hidden layers.
WIDTHS = (64, 64)
STEPS = 200
RATE = 0.01
#: Penalty on squared weights, which are few rows' to tell.
PENALTY = 1.0
#: Share of the rows that says when to stop, and after how many steps that are no better.
HELD_OUT = 0.15
PATIENCE = 32


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
        return np.asarray(self.network.predict((x - self.center) / self.scale), dtype=np.float64)


def fit(x: Floats, y: Floats, rng: np.random.Generator) -> Mlp:
    """Train by Adam on all rows at once, until what is held out gets no better.

    Source: Rumelhart, Hinton & Williams, Nature 323, 1986; Kingma & Ba, ICLR 2015. NSGANetV2 (Lu et al., ECCV 2020)
        trains three layers of 300 units for 2000 epochs, which takes minutes for each choice of a surrogate on a core.

    Args:
        x: `(n, f)`.
        y: `(n,)`, mean 0 and variance 1.
        rng: initial weights, and which rows are held out.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    center, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    network = MLPRegressor(
        hidden_layer_sizes=WIDTHS, alpha=PENALTY, batch_size=len(x), learning_rate_init=RATE, max_iter=STEPS, early_stopping=True,
        validation_fraction=HELD_OUT, n_iter_no_change=PATIENCE, tol=0.0, random_state=int(rng.integers(1 << 31)),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a number of steps is all it gets
        warnings.filterwarnings("ignore", message="Got `batch_size`")  # of all rows, without those held out
        return Mlp(center, scale, network.fit((x - center) / scale, y))


SURROGATE = fit
