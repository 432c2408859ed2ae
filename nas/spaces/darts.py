"""The cell space of DARTS: four nodes that read two different earlier states each, seven operators.

Source: Liu, Simonyan & Yang, "DARTS: differentiable architecture search", ICLR 2019, sections 2.1, 2.4 and 3.1.1; as 32
    variables in EvoXBench (Lu, Cheng, Jin, Tan & Deb, "Neural architecture search as multiobjective optimization
    benchmarks: problem formulation and performance assessment", IEEE TEVC 28(2), 2024).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Archs
from nas.spaces._nasnet.cells import Cells
from nas.spaces._nasnet.space import CELLS, CellSpace


@dataclass(frozen=True)
class Darts(CellSpace):
    """DARTS cells in the network of its final evaluation; the defaults are those for CIFAR-10.

    All four nodes are concatenated, whether another node reads them or not. The two edges of a node read different
    states: where both genes name the same one, the second edge reads the next (after the last comes the first), so that
    all genomes are networks.
    """

    name = "darts"
    nodes = 4
    operators = ("max3", "avg3", "skip", "sep3", "sep5", "dil3", "dil5")
    gives_all = True

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, 32)`: False for the state of the first node's second edge: it has both inputs in any case."""
        found = super().active(archs)
        found[:, [self.place(f"{cell}2_from2") for cell in CELLS]] = False
        return found

    def cells(self, archs: Archs) -> tuple[Cells, Cells]:
        """The cells of genomes `(n, 32)`, with two different states for each node."""
        normal, reduction = super().cells(archs)
        return _apart(normal), _apart(reduction)


SPACE = Darts


def _apart(cells: Cells) -> Cells:
    first, second = cells.sources[..., 0], cells.sources[..., 1]
    other = (second + 1) % np.arange(2, cells.nodes + 2)
    return replace(cells, sources=np.stack([first, np.where(first == second, other, second)], axis=-1))
