"""Covariances of networks: sums of parts that compare genes, counts of options, or features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nas.arrays import Floats

#: Prior variance of the mean, in units of the targets' variance.
_MEAN_VARIANCE = 1.0


@dataclass(frozen=True)
class Part:
    """One summand of a covariance, over some columns of the inputs.

    A column contributes the distance 1 where it differs (categories) or the squared difference (numbers), times a
    weight of its own. `product` is `exp(-distance)`, so that all interactions count (ARD; Rasmussen & Williams,
    "Gaussian processes for machine learning", 2006, section 5.1); `additive` is 1 minus the distance over all weights:
    main effects alone; `pairs` is its square: main effects and interactions of two (Duvenaud et al., "Additive Gaussian
    processes", NeurIPS 2011).

    Attributes:
        form: which of the three.
        columns: of the inputs.
        numeric: for each column whether it holds numbers; `product` alone takes those.
        amplitude: centre of the prior of its amplitude, in units of the targets' variance.
        weight: centre of the prior of all its weights together; small is smooth.
    """

    form: Literal["product", "additive", "pairs"]
    columns: tuple[int, ...]
    numeric: tuple[bool, ...]
    amplitude: float = 1.0
    weight: float = 0.2

    @property
    def size(self) -> int:
        """Number of its hyper-parameters: an amplitude, and a weight for each column."""
        return 1 + len(self.columns)

    @property
    def centre(self) -> Floats:
        """Centre of the prior of their logarithms, `(size,)`."""
        count = len(self.columns)
        return np.log([self.amplitude, *[self.weight / count] * count])


@dataclass(frozen=True)
class Kernel:
    """A sum of parts and a constant.

    Attributes:
        name: for people.
        parts: its summands.
    """

    name: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Number of hyper-parameters."""
        return sum(part.size for part in self.parts)

    def split(self, log_parameters: Floats) -> list[tuple[Part, float, Floats]]:
        """Each part with its amplitude and weights, from the logarithms of all hyper-parameters `(size,)`."""
        found, start = [], 0
        for part in self.parts:
            mine = np.exp(log_parameters[start : start + part.size])
            found.append((part, float(mine[0]), mine[1:]))
            start += part.size
        return found

    def between(self, log_parameters: Floats, left: Floats, right: Floats) -> Floats:
        """Covariances of inputs `(a, p)` with `(b, p)`, `(a, b)`."""
        total = np.full((len(left), len(right)), _MEAN_VARIANCE)
        for part, amplitude, weights in self.split(log_parameters):
            distance = _weighted(part, weights, left, right)
            total += amplitude * _shape(part, distance, weights)
        return total

    def variance(self, log_parameters: Floats) -> float:
        """Of an input with itself, a scalar; the same for all."""
        return _MEAN_VARIANCE + sum(amplitude for _, amplitude, _ in self.split(log_parameters))


def distances(part: Part, inputs: Floats) -> Floats:
    """Distances of all pairs by column, `(columns, n, n)`, for `gradient`."""
    columns = inputs[:, part.columns].T
    left, right = columns[:, :, None], columns[:, None, :]
    numeric = np.array(part.numeric)[:, None, None]
    return np.where(numeric, (left - right) ** 2, left != right)


def evaluated(kernel: Kernel, log_parameters: Floats, tensors: Sequence[Floats]) -> tuple[Floats, list[Floats]]:
    """Covariances of the training inputs `(n, n)`, and the weighted distances of each part, from `distances`."""
    total = np.full(tensors[0].shape[1:], _MEAN_VARIANCE)
    weighted = []
    for (part, amplitude, weights), tensor in zip(kernel.split(log_parameters), tensors, strict=True):
        weighted.append(np.tensordot(weights, tensor, axes=1))
        total += amplitude * _shape(part, weighted[-1], weights)
    return total, weighted


def gradient(
    kernel: Kernel, log_parameters: Floats, tensors: Sequence[Floats], weighted: Sequence[Floats], outer: Floats
) -> Floats:
    """Sum of `outer` times the derivative of the covariances, for each log hyper-parameter, `(size,)`."""
    found = []
    for (part, amplitude, weights), tensor, distance in zip(
        kernel.split(log_parameters), tensors, weighted, strict=True
    ):
        shape = _shape(part, distance, weights)
        found.append(np.array([amplitude * np.vdot(outer, shape)]))
        if part.form == "product":
            slope = -np.tensordot(tensor, outer * shape, axes=([1, 2], [0, 1]))
        else:
            total = weights.sum()
            inner = outer if part.form == "additive" else 2 * outer * (1 - distance / total)
            slope = (np.vdot(inner, distance) / total - np.tensordot(tensor, inner, axes=([1, 2], [0, 1]))) / total
        found.append(amplitude * weights * slope)
    return np.concatenate(found)


def _shape(part: Part, distance: Floats, weights: Floats) -> Floats:
    if part.form == "product":
        return np.asarray(np.exp(-distance))
    linear = 1.0 - distance / weights.sum()
    return np.asarray(linear if part.form == "additive" else linear**2)


def _weighted(part: Part, weights: Floats, left: Floats, right: Floats) -> Floats:
    """Sums over columns of weighted distances `(a, b)`, without a tensor of all columns."""
    numeric = np.array(part.numeric)
    columns = np.array(part.columns)
    scale = np.sqrt(weights[numeric])
    a, b = left[:, columns[numeric]] * scale, right[:, columns[numeric]] * scale
    total = np.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * a @ b.T, 0.0)
    for column, weight in zip(columns[~numeric], weights[~numeric], strict=True):
        total += weight * (left[:, column, None] != right[None, :, column])
    return np.asarray(total)
