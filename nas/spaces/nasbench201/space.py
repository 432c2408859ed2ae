"""The cell space of NAS-Bench-201: six edges, five operators, one cell repeated in three stages.

Source: Dong & Yang, "NAS-Bench-201: extending the scope of reproducible neural architecture search", ICLR 2020, section
    2.1.
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
from nas.spaces.nasbench201 import algebra, blocks
from nas.spaces.nasbench201.algebra import EDGES, NONE, OPERATORS, SIZE, SKIP
from nas.spaces.product import Gene, ProductSpace
from profiler.assembly import INPUT, Assembly, Block

_STAGES = 3
_WEIGHTS = len(OPERATORS) ** np.arange(len(EDGES) - 1, -1, -1)
_TERM = re.compile(r"^([a-z_0-9]+)~(\d)$")


@dataclass(frozen=True)
class NasBench201(ProductSpace):
    """NAS-Bench-201 cells in a macro skeleton; the defaults are the paper's.

    Attributes:
        channels: of the first stage; each of the two others has twice as many as the one before.
        cells: in each stage.
        resolution: of the square input.
        classes: that the network tells apart.
        image_channels: of the input.
    """

    channels: int = 16
    cells: int = 5
    resolution: int = 32
    classes: int = 10
    image_channels: int = 3

    name = "nasbench201"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resolution % 4:
            raise UsageError(
                f"space option resolution must be a multiple of 4 (two stages halve it), got {self.resolution}"
            )

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """Five operators on each of six edges; an edge is named by the nodes it joins."""
        return tuple(Gene(f"edge{source}{target}", OPERATORS) for source, target in EDGES)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One image."""
        return (1, self.image_channels, self.resolution, self.resolution)

    def sample(self, n: int, rng: np.random.Generator) -> Archs:
        """`n` live cells, `(n, 6)`, distinct networks as long as there are that many."""
        representative, valid = algebra.tables()
        order = rng.permutation(SIZE)
        order = order[valid[order]]
        _, first = np.unique(representative[order], return_index=True)
        distinct = order[np.sort(first)]
        if n > len(distinct):
            distinct = np.concatenate([distinct, rng.choice(order, n - len(distinct))])
        return _genes(distinct[:n])

    def canonical(self, archs: Archs) -> Archs:
        """The cell of lowest number that computes the same function, `(n, 6)`."""
        return _genes(algebra.tables()[0][self._numbers(archs)])

    def is_valid(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n,)`: whether a path leads from the input to the output."""
        return np.asarray(algebra.tables()[1][self._numbers(archs)])

    def features(self, archs: Archs) -> NDArray[np.float64]:
        """32 counts over live edges and paths of the canonical cell, `(n, 32)`; see `algebra.structure`."""
        distinct, inverse = np.unique(self.canonical(archs), axis=0, return_inverse=True)
        rows = np.array([algebra.structure(tuple(int(g) for g in cell)) for cell in distinct])
        return np.asarray(rows.reshape(-1, algebra.FEATURES)[inverse.reshape(-1)])

    def parse(self, text: str) -> Archs:
        """A cell `(6,)` from `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, or from six integers with commas.

        Raises:
            UsageError: the text is neither.
        """
        if "~" not in text:
            return self.parse_integers(text)
        return np.array(self._parse_string(text.strip()), dtype=np.int64)

    def format(self, arch: Archs) -> str:
        """The cell's string."""
        cell = self.checked_row(arch).tolist()
        terms = [f"{OPERATORS[gene]}~{source}" for gene, (source, _) in zip(cell, EDGES, strict=True)]
        return f"|{terms[0]}|+|{'|'.join(terms[1:3])}|+|{'|'.join(terms[3:])}|"

    def assembly(self, arch: Archs) -> Assembly:
        """The network as blocks; dead edges are left out, skips are wires.

        Raises:
            ConstantNetwork: no path leads from the input to the output.
        """
        cell = tuple(self.checked_row(arch).tolist())
        alive = set(algebra.live_edges(cell))
        if not alive:
            raise ConstantNetwork(
                f"cell {self.format(arch)} has no path from its input to its output, so its network is constant",
                hint="Choose another; a predictor charges it with the cost of what remains.",
            )
        channels = self.channels
        parts = [
            Block(
                "stem",
                f"stem {self.image_channels}->{channels}",
                (INPUT,),
                partial(blocks.stem, self.image_channels, channels),
            )
        ]
        current = "stem"
        for stage in range(_STAGES):
            if stage:
                reduce = partial(blocks.reduction, channels)
                parts.append(Block(f"reduction{stage}", f"reduction {channels}->{2 * channels}", (current,), reduce))
                channels *= 2
                current = parts[-1].name
            for number in range(self.cells):
                added, current = _cell_blocks(cell, alive, current, f"s{stage}c{number}", channels)
                parts += added
        parts.append(
            Block("head", f"head {channels}->{self.classes}", (current,), partial(blocks.head, channels, self.classes))
        )
        return Assembly(tuple(parts), self.input_shape)

    def to_supernet(self, **options: Any) -> Any:
        """All networks with shared weights; see `nas.spaces.protocol.Supernet`."""
        from nas.spaces.nasbench201.supernet import supernet

        return supernet(self)

    def to_entangled(self) -> Any:
        """The same, where the 1x1 convolution of an edge is the centre of its 3x3 convolution."""
        from nas.spaces.nasbench201.supernet import supernet

        return supernet(self, entangle=True)

    def _numbers(self, archs: Archs) -> NDArray[np.int64]:
        return np.asarray(self.checked(archs) @ _WEIGHTS, dtype=np.int64)

    @staticmethod
    def _parse_string(text: str) -> list[int]:
        hint = "Write |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, or six integers with commas."
        genes = []
        nodes = [node.strip("|").split("|") for node in text.split("+")]
        terms = [term for node in nodes for term in node]
        for term, (source, _) in zip(terms, EDGES, strict=False):
            match = _TERM.match(term.strip())
            if match is None or match.group(1) not in OPERATORS or int(match.group(2)) != source:
                raise UsageError(
                    f"{text!r} is no cell: {term!r} should be an operator of {', '.join(OPERATORS)} and '~{source}'",
                    hint=hint,
                )
            genes.append(OPERATORS.index(match.group(1)))
        counts = [len(node) for node in nodes]
        if counts != [1, 2, 3]:
            raise UsageError(f"{text!r} is no cell: its nodes have {counts} edges instead of [1, 2, 3]", hint=hint)
        return genes


SPACE = NasBench201


def _genes(numbers: NDArray[np.int64]) -> Archs:
    return np.asarray(numbers[:, None] // _WEIGHTS % len(OPERATORS), dtype=np.int64)


def _cell_blocks(
    cell: tuple[int, ...], alive: set[int], entry: str, prefix: str, channels: int
) -> tuple[list[Block], str]:
    """Blocks of one cell, and the name of what it gives on."""
    names = {0: entry}
    parts: list[Block] = []
    for target in (1, 2, 3):
        terms = []
        for edge, (source, into) in enumerate(EDGES):
            if into != target or edge not in alive or cell[edge] == NONE:
                continue
            if cell[edge] == SKIP:
                terms.append(names[source])
                continue
            name = f"{prefix}e{edge}"
            key = f"{OPERATORS[cell[edge]]} {channels}"
            parts.append(Block(name, key, (names[source],), partial(blocks.operator, cell[edge], channels)))
            terms.append(name)
        if len(terms) == 1:
            names[target] = terms[0]
        elif terms:
            names[target] = f"{prefix}n{target}"
            parts.append(Block(names[target], f"add {len(terms)}", tuple(terms), blocks.add))
    return parts, names[3]
