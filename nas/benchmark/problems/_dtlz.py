"""What the DTLZ problems share."""

from __future__ import annotations

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Floats
from nas.pareto.directions import spread

#: Points that a front is sampled by.
_POINTS = 1_000
#: Most objectives: a front of so many is still sampled, and its volume computed.
MOST_OBJECTIVES = 50


def genes(objectives: int, given: int | None, distance: int) -> int:
    """Number of variables.

    Raises:
        UsageError: they are no whole numbers, there are not more variables than objectives less one, or fewer than two
            objectives.
    """
    if not isinstance(objectives, int) or not isinstance(given, int | None):
        raise UsageError(f"objectives and genes are whole numbers, got {objectives!r} and {given!r}")
    count = objectives - 1 + distance if given is None else given
    if not 2 <= objectives <= MOST_OBJECTIVES or count < objectives:
        raise UsageError(f"it needs 2 to {MOST_OBJECTIVES} objectives and as many genes, got {objectives} and {count}")
    return count


def rugged(rest: Floats) -> Floats:
    """Distance to the front with many local optima, `(n,)`."""
    waves = (rest - 0.5) ** 2 - np.cos(20 * np.pi * (rest - 0.5))
    return np.asarray(100 * (rest.shape[1] + waves.sum(axis=1)))


def linear(places: Floats, distance: Floats) -> Floats:
    """Costs on planes, `(n, m)`."""
    ones = np.ones((len(places), 1))
    products = np.cumprod(np.concatenate([ones, places], axis=1), axis=1)[:, ::-1]
    rest = np.concatenate([ones, 1 - places[:, ::-1]], axis=1)
    return np.asarray(0.5 * products * rest * (1 + distance)[:, None])


def spherical(places: Floats, distance: Floats) -> Floats:
    """Costs on spheres, `(n, m)`."""
    ones, angles = np.ones((len(places), 1)), places * np.pi / 2
    products = np.cumprod(np.concatenate([ones, np.cos(angles)], axis=1), axis=1)[:, ::-1]
    rest = np.concatenate([ones, np.sin(angles[:, ::-1])], axis=1)
    return np.asarray(products * rest * (1 + distance)[:, None])


def plane(objectives: int) -> Floats:
    """Points of the simplex, `(k, m)`."""
    return spread(objectives, _POINTS)


def sphere(objectives: int) -> Floats:
    """Points of the positive part of the unit sphere, `(k, m)`."""
    points = spread(objectives, _POINTS)
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))
