"""DTLZ7: a front in 2^(m - 1) pieces.

Source: Deb, Thiele, Laumanns & Zitzler, "Scalable test problems for evolutionary multiobjective optimization", 2005.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from nas.arrays import Floats
from nas.benchmark.problems import _dtlz
from nas.benchmark.problems._grid import on_grid
from nas.benchmark.problems.protocol import Problem
from nas.pareto import dominance


def dtlz7(objectives: int = 3, genes: int | None = None, options: int = 1001) -> Problem:
    """The problem; all variables are in 0..1, 20 of them and one less than objectives if not given."""
    count = _dtlz.genes(objectives, genes, 20)
    axis = np.linspace(0, 1, max(int(4_000 ** (1 / (objectives - 1))), 4))
    places = np.stack(np.meshgrid(*[axis] * (objectives - 1)), axis=-1).reshape(-1, objectives - 1)
    front = _costs(objectives, np.concatenate([places, np.zeros((len(places), 1))], axis=1))
    front = front[dominance.nondominated(front)]
    return on_grid("dtlz7", partial(_costs, objectives), front, genes=count, options=options)


def _costs(objectives: int, points: Floats) -> Floats:
    first = points[:, : objectives - 1]
    g = 1 + 9 * points[:, objectives - 1 :].mean(axis=1)
    h = objectives - (first / (1 + g)[:, None] * (1 + np.sin(3 * np.pi * first))).sum(axis=1)
    return np.concatenate([first, ((1 + g) * h)[:, None]], axis=1)


PROBLEM = dtlz7
