"""Directions in the space of objectives: points spread over the simplex."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Floats


def das_dennis(objectives: int, divisions: int) -> Floats:
    """All points of the simplex whose coordinates are multiples of `1 / divisions`.

    Source: Das & Dennis, "Normal-boundary intersection", SIAM J. Optimization 8(3), 1998.

    Args:
        objectives: m, at least 1.
        divisions: H, at least 1.

    Returns:
        `(C(H + m - 1, m - 1), m)`, rows of sum 1, in lexicographic order.

    Raises:
        UsageError: an argument is below 1.
    """
    if objectives < 1 or divisions < 1:
        raise UsageError(f"directions need at least 1 objective and 1 division, got {objectives} and {divisions}")
    places = np.array(list(combinations(range(divisions + objectives - 1), objectives - 1)), dtype=np.int64)
    bars = np.concatenate(
        [np.full((len(places), 1), -1), places, np.full((len(places), 1), divisions + objectives - 1)], axis=1
    )
    return np.asarray((np.diff(bars, axis=1) - 1) / divisions)


def spread(objectives: int, count: int) -> Floats:
    """About `count` directions, at most so many unless the corners alone are more, `(k, m)`.

    Above three objectives two layers are joined, the inner one pulled half-way to the centre, where one layer would
    have nothing inside.

    Source: Deb & Jain, "An evolutionary many-objective optimization algorithm using reference-point-based
        nondominated sorting approach, part I", IEEE TEVC 18(4), 2014, section V.
    """
    divisions = _divisions(objectives, count)
    outer = das_dennis(objectives, divisions)
    if objectives < 4 or divisions >= objectives:
        return outer
    room = count - len(outer)
    inner = _divisions(objectives, room) if room >= objectives else 0
    if inner == 0:
        return outer
    return np.concatenate([outer, (das_dennis(objectives, min(inner, divisions)) + 1 / objectives) / 2])


def _divisions(objectives: int, count: int) -> int:
    """The most divisions that give at most `count` directions; at least 1."""
    if objectives == 1:
        return 1
    divisions = 1
    while comb(divisions + objectives, objectives - 1) <= count:
        divisions += 1
    return divisions
