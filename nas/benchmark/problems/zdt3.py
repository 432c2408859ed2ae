"""ZDT3: a front that is in five pieces.

Source: Zitzler, Deb & Thiele, "Comparison of multiobjective evolutionary algorithms", Evolutionary Computation 8(2),
    2000.
"""

from __future__ import annotations

import numpy as np

from nas.arrays import Floats
from nas.benchmark.problems._grid import on_grid
from nas.benchmark.problems.protocol import Problem
from nas.pareto import dominance


def zdt3(genes: int = 30, options: int = 1001) -> Problem:
    """The problem; all variables are in 0..1."""
    x = np.linspace(0, 1, 5001)
    curve = np.stack([x, 1 - np.sqrt(x) - x * np.sin(10 * np.pi * x)], axis=1)
    curve = curve[dominance.nondominated(curve)]
    return on_grid("zdt3", _costs, curve, genes=genes, options=options)


def _costs(points: Floats) -> Floats:
    f1, g = points[:, 0], 1 + 9 * points[:, 1:].mean(axis=1)
    return np.stack([f1, g * (1 - np.sqrt(f1 / g) - f1 / g * np.sin(10 * np.pi * f1))], axis=1)


PROBLEM = zdt3
