"""Cells in three levels: primitives make motifs, motifs make the cell, and the cell makes the network.

Source: Liu, Simonyan, Vinyals, Fernando & Kavukcuoglu, "Hierarchical representations for efficient architecture
    search", ICLR 2018, section 2. There what meets in a node is concatenated; here it is summed, so that all shapes are
    equal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import ConstantNetwork, UsageError
from nas.arrays import Archs
from nas.spaces._parts import dag
from nas.spaces.motifs import blocks
from nas.spaces.motifs import cell as cell_graph
from nas.spaces.motifs.cell import PRIMITIVES, Build, Cells
from nas.spaces.motifs.tally import COUNTED, tally
from nas.spaces.product import Gene, ProductSpace
from profiler.assembly import INPUT, Assembly, Block

_STAGES = 3
#: Seven nodes have 21 edges, and 7 ** 21 < 2 ** 63.
_MOST_NODES = 7
_WORD = re.compile(r"^(m\d+|cell)\(([^()]*)\)$")


@dataclass(frozen=True)
class Motifs(ProductSpace):
    """Motifs of primitives, and a cell of motifs; the defaults are the paper's.

    A motif is a graph whose edges are primitives, the cell is one whose edges are motifs; what meets in a node is
    summed. The network has a stem, `cells` cells in each of three stages, and between the stages a separable
    convolution that halves the resolution and doubles the channels.

    Attributes:
        motifs: of the second level.
        nodes: of each motif, 2 to 7.
        cell_nodes: of the cell, 2 to 7.
        channels: of the first stage.
        cells: in each stage.
        resolution: of the square input, a multiple of 4.
        classes: that the network tells apart.
        image_channels: of the input.
    """

    motifs: int = 6
    nodes: int = 4
    cell_nodes: int = 5
    channels: int = 16
    cells: int = 1
    resolution: int = 32
    classes: int = 10
    image_channels: int = 3

    name = "motifs"

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("nodes", "cell_nodes"):
            if not 2 <= getattr(self, option) <= _MOST_NODES:
                raise UsageError(f"space option {option} must be in 2..{_MOST_NODES}, got {getattr(self, option)}")
        if self.resolution % 4:
            raise UsageError(
                f"space option resolution must be a multiple of 4 (two stages halve it), got {self.resolution}"
            )

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """A primitive for each edge of each motif, then a motif for each edge of the cell."""
        names = ("none", *(f"m{number}" for number in range(1, self.motifs + 1)))
        inner = [Gene(f"{motif}_{i}{j}", PRIMITIVES) for motif in names[1:] for i, j in _pairs(self.nodes)]
        return (*inner, *(Gene(f"cell_{i}{j}", names) for i, j in _pairs(self.cell_nodes)))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One image."""
        return (1, self.image_channels, self.resolution, self.resolution)

    def is_valid(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n,)`: whether a path leads through the cell, and through each motif on it."""
        alive = self._cells(self.checked(archs)).alive()
        return np.asarray((alive != 0).any(axis=(1, 2)))

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, d)`: edges that could make or break a path, of the cell and of motifs that such edges name."""
        archs = self.checked(archs)
        cells = self._cells(archs)
        n, m, k, _ = cells.motifs.shape
        settable = dag.settable(cells.cell)
        named = np.where(settable, cells.cell, 0).reshape(n, 1, self.cell_nodes**2) == np.arange(1, m + 1)[:, None]
        inner = dag.settable(cells.motifs.reshape(-1, k, k)).reshape(n, m, k, k) & named.any(axis=2)[:, :, None, None]
        return self._row(inner, settable)

    def canonical(self, archs: Archs) -> Archs:
        """One genome for all that differ in the order of nodes and of motifs alone; see `_dag.canonical_order`.

        Edges on no path are none, equal motifs are one, motifs that the cell does not use are empty. Cells that are
        equal only when their motifs are unfolded are kept apart: so are identities that are wires, two equal pools of
        one input, and one graph that was cut into other motifs.
        """
        found: Archs = dag.in_chunks(self._canonical, self.checked(archs))
        return found

    def features(self, archs: Archs) -> NDArray[np.float64]:
        """What `cell_graph.structure` counts, and logs of parameters and multiply-accumulates: `(n, 20)`.

        The genes themselves are not there: a motif's number means nothing, and its uses say what it does.
        """
        found: NDArray[np.float64] = dag.in_chunks(self._features, self.checked(archs))
        return found

    def format(self, arch: Archs) -> str:
        """`m1(01:conv1+13:max3) ... cell(01:m1+14:m2)`: for each motif and the cell the edges that are not none."""
        values = self.values(arch)
        words = []
        for name, nodes in self._graphs():
            edges = [(f"{i}{j}", values[f"{name}_{i}{j}"]) for i, j in _pairs(nodes)]
            words.append(f"{name}({'+'.join(f'{edge}:{option}' for edge, option in edges if option != 'none')})")
        return " ".join(words)

    def parse(self, text: str) -> Archs:
        """A genome `(d,)` from the form of `format`, or from integers with commas.

        Raises:
            UsageError: the text is neither, or an option is not one.
        """
        if "(" not in text:
            return self.parse_integers(text)
        matches = [_WORD.match(word) for word in text.split()]
        names = [match[1] for match in matches if match]
        if not all(matches) or names != [name for name, _ in self._graphs()]:
            raise UsageError(f"{text!r} is no cell of {self.spec}", hint=f"Write it like {self._example()!r}.")
        wanted: dict[str, str] = {}
        for match in filter(None, matches):
            for edge in filter(None, match[2].split("+")):
                nodes, colon, option = edge.partition(":")
                gene = f"{match[1]}_{nodes}"
                if not colon or gene in wanted:
                    raise UsageError(f"{edge!r} of {match[1]} is no edge, or is there twice", hint="Write 01:OPTION.")
                wanted[gene] = option
        nothing = {gene.name: "none" for gene in self.genes}
        return super().parse(" ".join(f"{gene}={option}" for gene, option in (nothing | wanted).items()))

    def assembly(self, arch: Archs) -> Assembly:
        """The network as blocks, of what is on a path; identities are wires.

        Raises:
            ConstantNetwork: no path leads through the cell.
        """
        row = self.checked(np.asarray(arch)[None])
        if not self.is_valid(row)[0]:
            raise ConstantNetwork(
                f"cell {self.format(row[0])} has no path from its input to its output, so its network is constant",
                hint="Choose another; the path must lead through motifs that have one.",
            )
        cells, channels = self._cells(row), self.channels
        stem: Build = partial(blocks.stem, self.image_channels, channels)
        parts: list[Block] = []
        current = cell_graph.put(parts, "stem", f"stem {self.image_channels}->{channels}", (INPUT,), stem)
        for stage in range(_STAGES):
            if stage:
                reduce: Build = partial(blocks.separable, channels, 2 * channels, 2)
                key = f"reduction {channels}->{2 * channels}"
                current = cell_graph.put(parts, f"reduction{stage}", key, (current,), reduce)
                channels *= 2
            for number in range(self.cells):
                added, current = cell_graph.unfolded(cells, current, f"s{stage}c{number}", channels)
                parts += added
        head: Build = partial(blocks.head, channels, self.classes)
        cell_graph.put(parts, "head", f"head {channels}->{self.classes}", (current,), head)
        return Assembly(tuple(parts), self.input_shape)

    @property
    def tallied(self) -> int:
        """How many parts `tally` tells apart."""
        return COUNTED

    def tally(self, archs: Archs) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Numbers `(7, n)` of the parts of a cell, and how often it has each; see `nas.spaces.motifs.tally`."""
        columns, pairs = np.ascontiguousarray(archs.T, dtype=np.uint8), len(_pairs(self.nodes))
        inner = columns[: self.motifs * pairs].reshape(self.motifs, pairs, len(archs)).transpose(1, 0, 2)
        times = tally(inner, columns[self.motifs * pairs :]).T
        return np.broadcast_to(np.arange(1, COUNTED)[:, None], times.shape), times

    def _work(self, counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Parameters and multiply-accumulates `(n,)` of cells with these primitives `(n, 6)`, exact."""
        parameters = np.full(len(counts), (9.0 * self.image_channels + 2) * self.channels)
        macs = np.full(len(counts), 9.0 * self.image_channels * self.channels * self.resolution**2)
        conv1, depthwise, separable = counts[:, :3].T
        for stage in range(_STAGES):
            c, pixels = self.channels * 2**stage, (self.resolution // 2**stage) ** 2
            weights = self.cells * (conv1 * c * c + depthwise * 9 * c + separable * (9 * c + c * c))
            parameters += weights + self.cells * (conv1 + depthwise + separable) * 2 * c
            macs += weights * pixels
            if stage < _STAGES - 1:
                parameters += 9 * c + 2 * c * c + 4 * c
                macs += (9 * c + 2 * c * c) * pixels / 4
        last = self.channels * 2 ** (_STAGES - 1)
        return parameters + last * self.classes + self.classes, macs + last * self.classes

    def _canonical(self, archs: Archs) -> Archs:
        cells = self._cells(archs).canonical()
        return self._row(cells.motifs, cells.cell)

    def _features(self, archs: Archs) -> NDArray[np.float64]:
        cells = self._cells(archs).canonical()
        work = np.log(np.stack(self._work(cell_graph.counts(cells)), axis=1)).reshape(-1, 2)
        valid = (cells.cell != 0).any(axis=(1, 2))
        return np.concatenate([cell_graph.structure(cells), work * valid[:, None]], axis=1)

    def _graphs(self) -> list[tuple[str, int]]:
        """Names of the motifs and the cell, with their nodes."""
        return [*((f"m{number}", self.nodes) for number in range(1, self.motifs + 1)), ("cell", self.cell_nodes)]

    def _cells(self, archs: Archs) -> Cells:
        inner = len(_pairs(self.nodes))
        motifs = np.zeros((len(archs), self.motifs, self.nodes, self.nodes), dtype=np.int64)
        cell = np.zeros((len(archs), self.cell_nodes, self.cell_nodes), dtype=np.int64)
        split = self.motifs * inner
        motifs[:, :, *np.triu_indices(self.nodes, 1)] = archs[:, :split].reshape(-1, self.motifs, inner)
        cell[:, *np.triu_indices(self.cell_nodes, 1)] = archs[:, split:]
        return Cells(motifs, cell)

    def _row(self, motifs: NDArray[Any], cell: NDArray[Any]) -> NDArray[Any]:
        """Matrices of motifs and cells as rows of genes."""
        inner = motifs[:, :, *np.triu_indices(self.nodes, 1)].reshape(
            len(motifs), self.motifs * len(_pairs(self.nodes))
        )
        return np.concatenate([inner, cell[:, *np.triu_indices(self.cell_nodes, 1)]], axis=1)


SPACE = Motifs


def _pairs(nodes: int) -> list[tuple[int, int]]:
    """Edges in the order of the genes."""
    return [(int(i), int(j)) for i, j in zip(*np.triu_indices(nodes, 1), strict=True)]
