"""The cell space of DARTS: four nodes that read two different earlier states each, seven operators.

Source: Liu, Simonyan & Yang, "DARTS: differentiable architecture search", ICLR 2019, sections 2.1, 2.4 and 3.1.1; as 32
    variables in EvoXBench (Lu, Cheng, Jin, Tan & Deb, "Neural architecture search as multiobjective optimization
    benchmarks: problem formulation and performance assessment", IEEE TEVC 28(2), 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Archs
from nas.spaces._nasnet import mixture
from nas.spaces._nasnet.cells import Cells
from nas.spaces._nasnet.space import CELLS, CellSpace
from nas.spaces.mixture import Mixture

if TYPE_CHECKING:
    from torch import Tensor


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

    def mixture(self) -> Mixture:
        """All cells side by side, for gradients."""
        return mixture.mixture(self.skeleton, self.nodes, _second, self._arranged)

    def _arranged(self, arch: Archs, gates: Sequence[Tensor]) -> Sequence[Tensor]:
        kinds = self.cells(arch[None])
        return mixture.arrange(kinds, self._ordered(kinds), gates, _second)


SPACE = Darts


def _apart(cells: Cells) -> Cells:
    first = cells.sources[..., 0]
    second = np.stack([_second(cells.sources[:, node], node) for node in range(cells.nodes)], axis=1)
    return replace(cells, sources=np.stack([first, second], axis=-1))


def _second(named: Archs, node: int) -> Archs:
    """The state that the second edge reads, `(k,)`, by the states that the genes of both edges name, `(k, 2)`."""
    first, second = named[..., 0], named[..., 1]
    return np.asarray(np.where(first == second, (second + 1) % (node + 2), second))
