"""What spaces of a normal and a reduction cell have in common: genes, one row for isomorphic cells, text, features."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.spaces._nasnet import cells as cell_algebra
from nas.spaces._nasnet import network
from nas.spaces._nasnet.cells import Cells
from nas.spaces._nasnet.network import Skeleton
from nas.spaces.product import Gene, ProductSpace
from profiler.assembly import Assembly

CELLS = ("normal", "reduction")
#: Our names of operators, those of published genotypes, and the pixels on a line that one output depends on.
OPERATORS = {
    "max3": ("max_pool_3x3", 3),
    "avg3": ("avg_pool_3x3", 3),
    "skip": ("skip_connect", 1),
    "sep3": ("sep_conv_3x3", 5),
    "sep5": ("sep_conv_5x5", 9),
    "dil3": ("dil_conv_3x3", 5),
    "dil5": ("dil_conv_5x5", 9),
    "sep7": ("sep_conv_7x7", 13),
    "rec7": ("conv_7x1_1x7", 7),
}

_TEXT = re.compile(r"^normal\(([^()]*)\) reduction\(([^()]*)\)$")
_EDGE = re.compile(r"^([a-z]+\d?)~(\d)$")
_GENOTYPE = re.compile(
    r"^Genotype\(normal=\[(.*)\],normal_concat=(\S+),reduce=\[(.*)\],reduce_concat=(\S+)\)$", re.DOTALL
)
_PAIR = re.compile(r"\('(\w+)',(\d)\)")


@dataclass(frozen=True)
class CellSpace(ProductSpace):
    """Pairs of a normal and a reduction cell, in a row of `layers` cells.

    Attributes:
        layers: cells in a row; those at a third and at two thirds are reduction cells, which halve the resolution and
            double the width.
        channels: of the nodes of the first cells; the stem has three times as many.
        resolution: of the square input, a multiple of 4.
        classes: that the network tells apart.
        image_channels: of the input.
    """

    layers: int = 20
    channels: int = 36
    resolution: int = 32
    classes: int = 10
    image_channels: int = 3

    nodes: ClassVar[int]
    operators: ClassVar[tuple[str, ...]]
    gives_all: ClassVar[bool]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers < 3 or self.resolution % 4:
            raise UsageError(
                f"space {self.name} needs 3 layers or more and a resolution that is a multiple of 4 (two layers halve "
                f"it), got layers={self.layers} and resolution={self.resolution}",
                hint=f"Such as {self.name}:layers=8,resolution=32.",
            )

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """For each edge of both cells the state that it reads and its operator.

        State 0 is the output of the cell before the last, 1 that of the last one, 2 and up are nodes of the cell.
        """
        return tuple(
            gene
            for cell in CELLS
            for node in range(self.nodes)
            for edge in (1, 2)
            for gene in (
                Gene(f"{cell}{node + 2}_from{edge}", tuple(range(node + 2))),
                Gene(f"{cell}{node + 2}_op{edge}", self.operators),
            )
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One image."""
        return (1, self.image_channels, self.resolution, self.resolution)

    def cells(self, archs: Archs) -> tuple[Cells, Cells]:
        """The normal and the reduction cells that genomes `(n, d)` stand for, as their genes say."""
        genes = archs.reshape(len(archs), 2, self.nodes, 2, 2)
        normal, reduction = (Cells(genes[:, kind, ..., 0], genes[:, kind, ..., 1], self.gives_all) for kind in range(2))
        return normal, reduction

    def genome(self, kinds: tuple[Cells, Cells]) -> Archs:
        """Genomes `(n, d)` of normal and reduction cells."""
        genes = np.stack([np.stack([cells.sources, cells.operators], axis=3) for cells in kinds], axis=1)
        return np.ascontiguousarray(genes.reshape(len(genes), len(self.choices)))

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, d)`: False for all genes of a kind of cell that the output does not depend on.

        It happens where normal cells read none but their input 0, and so pass by every second cell.
        """
        found = network.matters(self.skeleton, self.cells(self.checked(archs)))
        return np.repeat(found, len(self.choices) // 2, axis=1)

    def canonical(self, archs: Archs) -> Archs:
        """The genome with the nodes and edges of its cells in one order; see `cell_algebra.ordered`.

        Cells that the output does not depend on are 0.
        """
        archs = self.checked(archs)
        found = self.genome(self._ordered(self.cells(archs)))
        return np.where(CellSpace.active(self, archs), found, 0)

    def features(self, archs: Archs) -> NDArray[np.float64]:
        """The genes of the canonical genome, then counts of its cells, `(n, f)`.

        Of each kind of cell the edges with each operator that read a node, and that read an input, and
        `cell_algebra.structure`; 0 where the output depends on no such cell. Then the share of layers that matter, and
        the decimal logarithms of multiply-accumulates and parameters, both exact.
        """
        archs = self.canonical(archs)
        kinds = self.cells(archs)
        sights = tuple(OPERATORS[name][1] for name in self.operators)
        matters = network.matters(self.skeleton, kinds)
        columns = [super().features(archs)]
        for cells, used in zip(kinds, matters.T, strict=True):
            number = cell_algebra.counts(cells, len(self.operators)).reshape(len(archs), 2 * len(self.operators))
            columns += [number * used[:, None], cell_algebra.structure(cells, sights) * used[:, None]]
        live = network.live(self.skeleton, kinds)
        work = network.work(self.skeleton, kinds)
        return np.concatenate([*columns, live.mean(axis=1)[:, None], np.log10(np.stack(work, axis=1))], axis=1)

    def format(self, arch: Archs) -> str:
        """`normal(op~state+op~state ...) reduction(...)`: for each node its two edges."""
        cells = self.checked_row(arch).reshape(2, self.nodes, 2, 2)
        texts = [
            " ".join("+".join(f"{self.operators[operator]}~{source}" for source, operator in node) for node in cell)
            for cell in cells
        ]
        return f"normal({texts[0]}) reduction({texts[1]})"

    def parse(self, text: str) -> Archs:
        """A genome `(d,)` from the form of `format`, from a published `Genotype(...)`, or from integers with commas.

        Raises:
            UsageError: the text is none of these, or is no network of this space.
        """
        if "(" not in text:
            return self.parse_integers(text)
        genotype = _GENOTYPE.match(re.sub(r"\s|,(?=\s*[\])])", "", text))
        whole = _TEXT.match(text.strip())
        if genotype is not None:
            return self._genotype(text, genotype)
        edges = [edge for cell in whole.groups() for node in cell.split() for edge in node.split("+")] if whole else []
        matches = [_EDGE.match(edge) for edge in edges]
        shape = [[len(node.split("+")) for node in cell.split()] for cell in whole.groups()] if whole else []
        if shape != [[2] * self.nodes] * 2 or not all(matches):
            raise self._refused(text)
        return self._row(text, [(match[1], int(match[2])) for match in matches if match])

    def assembly(self, arch: Archs) -> Assembly:
        """The network of the canonical genome as blocks, without cells and inputs that the output does not depend on.

        So isomorphic genomes are one network, channel by channel.
        """
        return network.assembly(self.skeleton, self._ordered(self.cells(self.checked(np.asarray(arch)[None]))))

    @cached_property
    def skeleton(self) -> Skeleton:
        """What the networks have in common."""
        return Skeleton(self.operators, self.layers, self.channels, self.resolution, self.classes, self.image_channels)

    def _ordered(self, kinds: tuple[Cells, Cells]) -> tuple[Cells, Cells]:
        normal, reduction = (cell_algebra.ordered(cells, len(self.operators)) for cells in kinds)
        return normal, reduction

    def _genotype(self, text: str, found: re.Match[str]) -> Archs:
        """A genome from a genotype; what it concatenates must be what this space does."""
        names = {published: name for name, (published, _) in OPERATORS.items()}
        pairs = [_PAIR.findall(cell) for cell in (found[1], found[3])]
        if [len(cell) for cell in pairs] != [2 * self.nodes] * 2:
            raise self._refused(text)
        row = self._row(text, [(names.get(op, op), int(source)) for cell in pairs for op, source in cell])
        for cells, cell, said in zip(self.cells(row[None]), pairs, (found[2], found[4]), strict=True):
            wanted = (np.flatnonzero(cell_algebra.outputs(cells)[0]) + 2).tolist()
            given = re.fullmatch(r"range\((\d+),(\d+)\)", said)
            states = list(range(int(given[1]), int(given[2]))) if given else [int(n) for n in re.findall(r"\d+", said)]
            if sorted(states) != wanted:
                raise UsageError(
                    f"the genotype concatenates states {states}, networks of {self.name} concatenate {wanted} here"
                )
            if cells.sources[0].ravel().tolist() != [int(source) for _, source in cell]:
                raise UsageError(f"a node of the genotype reads one state twice, which {self.name} does not have")
        return row

    def _row(self, text: str, edges: list[tuple[str, int]]) -> Archs:
        """A genome from operators and states, edge by edge."""
        row: list[int] = []
        for operator, source in edges:
            states = self.choices[len(row)]
            if operator not in self.operators or source >= states:
                raise UsageError(
                    f"{text!r} is no network of {self.name}: {operator}~{source} is not an operator of "
                    f"{', '.join(self.operators)} on one of states 0 to {states - 1}",
                    hint=f"Write it like {self._example()!r}.",
                )
            row += [source, self.operators.index(operator)]
        return np.array(row, dtype=np.int64)

    def _refused(self, text: str) -> UsageError:
        return UsageError(
            f"{text!r} is no pair of cells with {self.nodes} nodes of two edges",
            hint=f"Write it like {self._example()!r}.",
        )
