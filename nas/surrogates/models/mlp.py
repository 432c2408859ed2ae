"""A small multilayer perceptron."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats

#: Units of each of the hidden layers.
WIDTHS = (64, 64)
STEPS = 200
RATE = 0.01
_BETAS = (0.9, 0.999)
#: Of the weights, decoupled: each step takes `RATE * DECAY` of them. Rows are few, so it is strong.
DECAY = 3.0
#: Share of the rows that says when to stop, every how many steps it is asked, and how often it may be no better.
HELD_OUT = 0.15
EVERY = 4
PATIENCE = 8

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Mlp:
    """A perceptron on standardised columns.

    Attributes:
        center: `(f,)`.
        scale: `(f,)`.
        layers: weights `(from, to)` and biases `(to,)`.
    """

    center: Floats
    scale: Floats
    layers: tuple[Layer, ...]

    def predict(self, x: Floats) -> Floats:
        """Costs `(n,)` at `(n, f)`."""
        rows = ((x - self.center) / self.scale).astype(np.float32)
        return np.asarray(_forward(rows, self.layers)[-1][:, 0], dtype=np.float64)


def fit(x: Floats, y: Floats, rng: np.random.Generator) -> Mlp:
    """Train by Adam on all rows at once, on the smooth L1 loss, until what is held out gets no better.

    Source: Rumelhart, Hinton & Williams, Nature 323, 1986; Kingma & Ba, ICLR 2015; decoupled decay: Loshchilov &
        Hutter, ICLR 2019. NSGANetV2 (Lu et al., ECCV 2020) trains three layers of 300 units for 2000 epochs, which
        takes minutes for each choice of a surrogate on one core.

    Args:
        x: `(n, f)`.
        y: `(n,)`, mean 0 and variance 1.
        rng: initial weights, and which rows are held out.
    """
    center, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    rows, targets = ((x - center) / scale).astype(np.float32), y.astype(np.float32)
    held = rng.permutation(len(x)) < max(int(HELD_OUT * len(x)), 1)
    seen, aims = rows[~held], targets[~held]
    sizes = (x.shape[1], *WIDTHS, 1)
    parameters = np.zeros(sum(before * after + after for before, after in pairwise(sizes)), dtype=np.float32)
    slope, first, second = np.zeros((3, len(parameters)), dtype=np.float32)
    layers, slopes = _layers(parameters, sizes), _layers(slope, sizes)
    for weights, _ in layers:
        weights[:] = rng.standard_normal(weights.shape) * np.sqrt(2.0 / len(weights))
    best, least, since = parameters.copy(), np.inf, 0
    for step in range(1, STEPS + 1):
        _gradient(seen, aims, layers, slopes)
        first += np.float32(1 - _BETAS[0]) * (slope - first)
        second += np.float32(1 - _BETAS[1]) * (slope**2 - second)
        size = np.float32(RATE * np.sqrt(1 - _BETAS[1] ** step) / (1 - _BETAS[0] ** step))
        parameters -= size * first / (np.sqrt(second) + np.float32(1e-8)) + np.float32(RATE * DECAY) * parameters
        if step % EVERY:
            continue
        error = float(np.abs(_forward(rows[held], layers)[-1][:, 0] - targets[held]).mean())
        since += 1
        if error < least:
            best, least, since = parameters.copy(), error, 0
        elif since > PATIENCE:
            break
    return Mlp(center, scale, _layers(best, sizes))


def _layers(flat: NDArray[np.float32], sizes: tuple[int, ...]) -> tuple[Layer, ...]:
    """Weights and biases as views of one vector."""
    found, start = [], 0
    for before, after in pairwise(sizes):
        middle, end = start + before * after, start + (before + 1) * after
        found.append((flat[start:middle].reshape(before, after), flat[middle:end]))
        start = end
    return tuple(found)


def _forward(rows: NDArray[np.float32], layers: tuple[Layer, ...]) -> list[NDArray[np.float32]]:
    """What goes into each layer, and what comes out of the last."""
    flow = [rows]
    for number, (weights, biases) in enumerate(layers):
        value = flow[-1] @ weights + biases
        flow.append(value if number == len(layers) - 1 else np.maximum(value, np.float32(0.0)))
    return flow


def _gradient(
    rows: NDArray[np.float32], targets: NDArray[np.float32], layers: tuple[Layer, ...], slopes: tuple[Layer, ...]
) -> None:
    """The gradient of the mean smooth L1 loss, into `slopes`."""
    flow = _forward(rows, layers)
    upward = np.clip(flow[-1][:, 0] - targets, -1, 1)[:, None] / np.float32(len(rows))
    for number in range(len(layers) - 1, -1, -1):
        np.matmul(flow[number].T, upward, out=slopes[number][0])
        slopes[number][1][:] = upward.sum(axis=0)
        if number:
            upward = (upward @ layers[number][0].T) * (flow[number] > 0)


SURROGATE = fit
