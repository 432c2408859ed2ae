"""ZDT4: 21^9 local fronts.

Source: Zitzler, Deb & Thiele, "Comparison of multiobjective evolutionary algorithms", Evolutionary Computation 8(2),
    2000.
"""

from __future__ import annotations

import numpy as np

from nas.arrays import Floats
from nas.benchmark.problems._grid import on_grid
from nas.benchmark.problems.protocol import Problem


def zdt4(genes: int = 10, options: int = 1001) -> Problem:
    """The problem; the first variable is in 0..1, the others are in -5..5."""
    x = np.linspace(0, 1, 1001)
    curve = np.stack([x, 1 - np.sqrt(x)], axis=1)
    return on_grid("zdt4", _costs, curve, genes=genes, options=options, low=-5.0, high=5.0, wide=1)


def _costs(points: Floats) -> Floats:
    f1, rest = points[:, 0], points[:, 1:]
    g = 1 + 10 * rest.shape[1] + (rest**2 - 10 * np.cos(4 * np.pi * rest)).sum(axis=1)
    return np.stack([f1, g * (1 - np.sqrt(f1 / g))], axis=1)


PROBLEM = zdt4
