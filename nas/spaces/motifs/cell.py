"""The graph behind a genome of `motifs`: its canonical form, what is in the cell when it is unfolded, its blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats
from nas.spaces._parts import dag
from nas.spaces.motifs import blocks
from profiler.assembly import Block

if TYPE_CHECKING:
    from torch import nn

Build = Callable[[], "nn.Module"]
Ints = NDArray[np.int64]

#: Operators of the first level, in the order of the genes.
PRIMITIVES = ("none", "conv1", "depthwise3", "separable3", "max3", "avg3", "identity")
IDENTITY = 6
#: Whether a primitive convolves; whether it does so over pixels.
_CONVOLVES, _SPREADS = np.array((0, 1, 1, 1, 0, 0, 0)), np.array((0, 0, 1, 1, 0, 0, 0))


@dataclass(frozen=True)
class Cells:
    """Motifs and the cells that are made of them.

    Attributes:
        motifs: `(n, m, k, k)`, edges of each motif: indices into `PRIMITIVES`.
        cell: `(n, c, c)`, edges of each cell: 0 for none, else the number of a motif, from 1.
    """

    motifs: Ints
    cell: Ints

    def canonical(self) -> Cells:
        """The same for all that differ in the order of nodes and motifs alone.

        What is on no path is gone, equal motifs are one, those that are not used are empty, and the others are sorted.
        """
        n, m, k, _ = self.motifs.shape
        flat = _sorted(self.motifs.reshape(-1, k, k))
        weights = len(PRIMITIVES) ** np.arange(k * (k - 1) // 2, dtype=np.int64)
        codes = (flat[:, *np.triu_indices(k, 1)] @ weights).reshape(n, m)
        code_of = np.concatenate([np.zeros((n, 1), dtype=np.int64), codes], axis=1)
        rows = np.arange(n)[:, None]
        cell = _sorted(code_of[rows[:, :, None], self.cell])
        nothing = np.iinfo(np.int64).max
        used = (cell.reshape(n, 1, cell.shape[1] ** 2) == codes[:, :, None]).any(axis=2) & (codes > 0)
        kept = np.sort(np.where(used, codes, nothing), axis=1)
        kept[:, 1:][kept[:, 1:] == kept[:, :-1]] = nothing
        kept = np.sort(kept, axis=1)
        number = 1 + (kept[:, :, None, None] < cell[:, None]).sum(axis=1)
        digits = np.where(kept == nothing, 0, kept)[:, :, None] // weights % len(PRIMITIVES)
        motifs = np.zeros_like(self.motifs)
        motifs[:, :, *np.triu_indices(k, 1)] = digits
        return Cells(motifs, np.where(cell > 0, number, 0))

    def alive(self) -> Ints:
        """Edges of the cell on a path, `(n, c, c)`, where a motif without a path is none."""
        n, m, k, _ = self.motifs.shape
        through = dag.reached(self.motifs.reshape(-1, k, k))[:, -1].reshape(n, m)
        works = np.concatenate([np.zeros((n, 1), dtype=np.bool_), through], axis=1)
        return dag.pruned(self.cell * works[np.arange(n)[:, None, None], self.cell])

    @cached_property
    def of_the_first(self) -> tuple[list[list[list[int]]], list[list[int]]]:
        """Edges on a path of the motifs and of the cell, of the first row; all stages of its network have them."""
        return dag.pruned(self.motifs[0]).tolist(), self.alive()[0].tolist()


def _sorted(edges: Ints) -> Ints:
    edges = dag.pruned(edges)
    order = dag.canonical_order(np.zeros(edges.shape[:2], dtype=np.int64), edges)
    rows = np.arange(len(edges))[:, None, None]
    return np.asarray(edges[rows, order[:, :, None], order[:, None, :]])


def counts(cells: Cells) -> Floats:
    """Each primitive but none in the unfolded cell, `(n, 6)`; cells are canonical."""
    n, m = cells.motifs.shape[:2]
    inside = (cells.motifs[..., None] == np.arange(1, len(PRIMITIVES))).sum(axis=(2, 3))
    uses = (cells.cell.reshape(n, 1, cells.cell.shape[1] ** 2) == np.arange(1, m + 1)[:, None]).sum(axis=2)
    return np.asarray((inside * uses[:, :, None]).sum(axis=1), dtype=np.float64)


def structure(cells: Cells) -> Floats:
    """What a surrogate wants to know of unfolded cells, `(n, 18)`; cells are canonical.

    Uses of each primitive but none; motifs used; edges of the cell, and those into its output; log of the paths; over
    paths the most and fewest primitives, convolutions, and convolutions over pixels; whether a path is identities alone
    (1 or 0), and nodes of the cell on a path.
    """
    n, m, k, _ = cells.motifs.shape
    flat, cell = cells.motifs.reshape(-1, k, k), cells.cell

    def of_motifs(values: Floats) -> Floats:
        whole = np.concatenate([np.zeros((n, 1)), values.reshape(n, m)], axis=1)
        return np.asarray(whole[np.arange(n)[:, None, None], cell])

    columns = [
        (cells.motifs != 0).any(axis=(2, 3)).sum(axis=1),
        (cell != 0).sum(axis=(1, 2)),
        (cell[:, :, -1] != 0).sum(axis=1),
        np.log1p(dag.paths(of_motifs(dag.paths((flat != 0).astype(np.float64))))),
    ]
    for measure in (np.ones(len(PRIMITIVES)), _CONVOLVES, _SPREADS):
        for sign in (1.0, -1.0):
            inner = dag.longest(sign * measure[flat], flat)
            columns.append(sign * dag.longest(of_motifs(inner), cell))
    wires = of_motifs(dag.paths((flat == IDENTITY).astype(np.float64)))
    columns += [dag.paths(wires) > 0, dag.live(cell).sum(axis=1) * (cell != 0).any(axis=(1, 2))]
    return np.concatenate([counts(cells), np.stack(columns, axis=1)], axis=1).astype(np.float64)


def unfolded(cells: Cells, entry: str, prefix: str, channels: int) -> tuple[list[Block], str]:
    """Blocks of the one cell of `cells`, and the name of what it gives."""
    parts: list[Block] = []
    motifs, alive = cells.of_the_first
    builds: dict[int, Build] = {
        kind: partial(blocks.primitive, name, channels) for kind, name in enumerate(PRIMITIVES) if kind
    }
    keys = [f"{name} {channels}" for name in PRIMITIVES]

    def primitive(name: str, source: str, kind: int) -> str:
        return source if kind == IDENTITY else put(parts, name, keys[kind], (source,), builds[kind])

    def motif(name: str, source: str, number: int) -> str:
        return _graph(parts, motifs[number - 1], source, name, primitive)

    return parts, _graph(parts, alive, entry, prefix, motif)


def _graph(
    parts: list[Block], edges: list[list[int]], entry: str, prefix: str, operator: Callable[[str, str, int], str]
) -> str:
    """Blocks of a pruned graph, k rows of k, whose edges are operators, and the name of what its sink gives."""
    given = {0: entry}
    for node in range(1, len(edges)):
        terms = [
            operator(f"{prefix}_{source}{node}", given[source], edges[source][node])
            for source in range(len(edges))
            if edges[source][node]
        ]
        for number, term in enumerate(terms):
            given[node] = (
                term if not number else put(parts, f"{prefix}_{node}a{number}", "add", (given[node], term), blocks.add)
            )
    return given[len(edges) - 1]


def put(parts: list[Block], name: str, key: str, inputs: tuple[str, ...], build: Build) -> str:
    """Append a block; its name."""
    parts.append(Block(name, f"motif {key}", inputs, build))
    return name
