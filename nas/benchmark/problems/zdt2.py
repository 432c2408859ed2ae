"""ZDT2: a front that is concave.

Source: Zitzler, Deb & Thiele, "Comparison of multiobjective evolutionary algorithms", Evolutionary Computation 8(2),
    2000.
"""

from __future__ import annotations

import numpy as np

from nas.arrays import Floats
from nas.benchmark.problems._grid import on_grid
from nas.benchmark.problems.protocol import Problem


def zdt2(genes: int = 30, options: int = 1001) -> Problem:
    """The problem; all variables are in 0..1."""
    x = np.linspace(0, 1, 1001)
    curve = np.stack([x, 1 - x**2], axis=1)
    return on_grid("zdt2", _costs, curve, genes=genes, options=options)


def _costs(points: Floats) -> Floats:
    f1, g = points[:, 0], 1 + 9 * points[:, 1:].mean(axis=1)
    return np.stack([f1, g * (1 - (f1 / g) ** 2)], axis=1)


PROBLEM = zdt2
