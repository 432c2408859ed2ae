"""The micro space of NSGA-Net: NASNet-like cells of five nodes with nine operators.

Source: Lu, Whalen, Boddeti, Dhebar, Deb, Goodman & Banzhaf, "NSGA-Net: neural architecture search using multi-objective
    genetic algorithm", GECCO 2019, section 3.1; cells as in Zoph, Vasudevan, Shlens & Le, "Learning transferable
    architectures for scalable image recognition", CVPR 2018, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas.spaces._nasnet.space import CellSpace


@dataclass(frozen=True)
class NsganetMicro(CellSpace):
    """Cells of five nodes, each the sum of two operators on any earlier states, equal ones included.

    Nodes that no other reads are concatenated. A cell may read one of its inputs only; layers that the output does not
    depend on for that reason are left out.
    """

    name = "nsganet-micro"
    nodes = 5
    operators = ("max3", "avg3", "skip", "sep3", "sep5", "dil3", "dil5", "sep7", "rec7")
    gives_all = False

    @property
    def wiring(self) -> tuple[tuple[tuple[tuple[int, int], tuple[int, int]], ...], ...]:
        """For each kind of cell its nodes: of both places the gene of the state that is read, and of the operator."""
        nodes = tuple(((gene, gene + 1), (gene + 2, gene + 3)) for gene in range(0, len(self.choices), 4))
        return nodes[: self.nodes], nodes[self.nodes :]


SPACE = NsganetMicro
