"""DTLZ4: a sphere, densely reached in one corner alone, for any number of objectives.

Source: Deb, Thiele, Laumanns & Zitzler, "Scalable test problems for evolutionary multiobjective optimization", 2005.
"""

from __future__ import annotations

from functools import partial

from nas.arrays import Floats
from nas.benchmark.problems import _dtlz
from nas.benchmark.problems._grid import on_grid
from nas.benchmark.problems.protocol import Problem


def dtlz4(objectives: int = 3, genes: int | None = None, options: int = 1001) -> Problem:
    """The problem; all variables are in 0..1, 10 of them and one less than objectives if not given."""
    count = _dtlz.genes(objectives, genes, 10)
    front = _dtlz.sphere(objectives)
    return on_grid("dtlz4", partial(_costs, objectives), front, genes=count, options=options)


def _costs(objectives: int, points: Floats) -> Floats:
    g = ((points[:, objectives - 1 :] - 0.5) ** 2).sum(axis=1)
    return _dtlz.spherical(points[:, : objectives - 1] ** 100, g)


PROBLEM = dtlz4
