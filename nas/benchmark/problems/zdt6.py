"""ZDT6: few solutions near the front, unevenly spread along it.

Source: Zitzler, Deb & Thiele, "Comparison of multiobjective evolutionary algorithms", Evolutionary Computation 8(2),
    2000.
"""

from __future__ import annotations

import numpy as np

from nas.arrays import Floats
from nas.benchmark.problems._grid import on_grid
from nas.benchmark.problems.protocol import Problem


def zdt6(genes: int = 10, options: int = 1001) -> Problem:
    """The problem; all variables are in 0..1."""
    x = np.linspace(0.2807753191, 1, 1001)
    return on_grid("zdt6", _costs, np.stack([x, 1 - x**2], axis=1), genes=genes, options=options)


def _costs(points: Floats) -> Floats:
    f1 = 1 - np.exp(-4 * points[:, 0]) * np.sin(6 * np.pi * points[:, 0]) ** 6
    g = 1 + 9 * points[:, 1:].mean(axis=1) ** 0.25
    return np.stack([f1, g * (1 - (f1 / g) ** 2)], axis=1)


PROBLEM = zdt6
