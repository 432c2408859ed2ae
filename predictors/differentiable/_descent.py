"""Steps of AdamW on the small network of `_training`, with its gradient written out.

Batches are small, so torch spends most of a step on finding out what to do next: this takes a quarter of its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.differentiable._main_effects import counted

Single = NDArray[np.float32]

#: Of AdamW, as in torch; and the largest norm of a gradient.
_FIRST, _SECOND, _LEAST, _LARGEST_NORM = 0.9, 0.999, 1e-8, 1.0


@dataclass(frozen=True)
class Batch:
    """Rows to learn from.

    Attributes:
        rows: `(b, each)`, facts of each architecture.
        side: `(b, q)`, what is known beside the architecture.
        target: `(b,)`, standardised.
        weight: `(b,)`, of the absolute error.
    """

    rows: NDArray[np.int64]
    side: Single
    target: Single
    weight: Single


@dataclass
class Descent:
    """Parameters, and what AdamW remembers of their gradients.

    Attributes:
        flat: all parameters, `(k,)`.
        parameters: entry `(options, h)`, beside `(q, h)`, first `(h,)`, layer `(h, h)`, second `(h,)`, last `(h,)`, and
            bias `(1,)`, as views of these.
        means: of the gradient, `(k,)`.
        squares: of the squared gradient, `(k,)`.
        steps: that were made.
    """

    flat: Single
    parameters: list[Single]
    means: Single
    squares: Single
    steps: int = 0

    @staticmethod
    def of(parameters: list[Single]) -> Descent:
        """From where they start."""
        flat = np.concatenate([array.reshape(-1) for array in parameters]).astype(np.float32)
        views = _views(flat, [array.shape for array in parameters])
        return Descent(flat, views, np.zeros_like(flat), np.zeros_like(flat))

    def step(self, batch: Batch, rate: float, decay: float) -> None:
        """One step on the Huber loss of the weighted error.

        Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.

        Args:
            batch: to learn from.
            rate: of learning.
            decay: of weights, for each unit of the rate.
        """
        gradient = self.gradient(batch)
        gradient *= min(1.0, _LARGEST_NORM / (float(np.sqrt(gradient @ gradient)) + 1e-6))
        self.steps += 1
        self.means += (1.0 - _FIRST) * (gradient - self.means)
        self.squares *= _SECOND
        self.squares += (1.0 - _SECOND) * np.square(gradient)
        size = np.sqrt(self.squares)
        size /= np.sqrt(1.0 - _SECOND**self.steps)
        size += _LEAST
        self.flat *= 1.0 - rate * decay
        self.flat -= (rate / (1.0 - _FIRST**self.steps)) * (self.means / size)

    def gradient(self, batch: Batch) -> Single:
        """Gradient of the mean loss, `(k,)`."""
        rows, side = batch.rows, batch.side
        entry, beside, first, layer, second, last, bias = self.parameters
        hot = counted(rows, len(entry), np.float32)
        one, one_slope = _silu(hot @ entry + side @ beside + first)
        two, two_slope = _silu(one @ layer + second)
        wrong = (two @ last + bias - batch.target) * batch.weight
        out = np.clip(wrong, -1.0, 1.0) * batch.weight / np.float32(len(rows))
        found = np.empty_like(self.flat)
        of = _views(found, [array.shape for array in self.parameters])
        of[6][0], of[5][:] = out.sum(), out @ two
        back = out[:, None] * last * two_slope
        of[4][:], of[3][:] = back.sum(axis=0), one.T @ back
        back = (back @ layer.T) * one_slope
        of[2][:], of[1][:], of[0][:] = back.sum(axis=0), side.T @ back, hot.T @ back
        return found


def _views(flat: Single, shapes: list[Any]) -> list[Single]:
    """Parts of a vector in their shapes."""
    ends = np.cumsum([prod(shape) for shape in shapes])
    return [flat[end - prod(shape) : end].reshape(shape) for shape, end in zip(shapes, ends.tolist(), strict=True)]


def _silu(x: Single) -> tuple[Single, Single]:
    """`x` times its logistic function, and the slope of that."""
    share: Single = np.reciprocal(np.float32(1.0) + np.exp(-x))
    value = x * share
    return value, share + value * (np.float32(1.0) - share)
