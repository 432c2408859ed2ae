"""What a learned cost knows of an architecture: its genes, or, where genes wire cells, what its cells are made of.

Nodes of a cell that change places make the same network. A cost that is learned from genes has to find that out for
each place; one that is learned from what a cell holds, wherever it stands in it, knows it, and needs a fraction of the
networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from device_profiles.errors import UsageError
from predictors.differentiable import _main_effects
from predictors.differentiable.protocol import Archs, Floats

if TYPE_CHECKING:
    from torch import Tensor

Place = tuple[int, int]
"""The gene of the state that is read, and that of the operator which reads it."""

Wiring = tuple[tuple[tuple[Place, Place], ...], ...]
"""For each kind of cell its nodes, each the sum of two places; a node may read the states from outside and all earlier
nodes."""

#: Most combinations of states from outside that the kinds of cells read.
_MOST_READINGS = 1 << 10


class Features(Protocol):
    """Facts about architectures, each true so many times."""

    @property
    def size(self) -> int:
        """Number of facts."""

    @property
    def each(self) -> int:
        """Facts that an architecture has, counted as often as they are true."""

    def rows(self, archs: Archs) -> Archs:
        """The facts of `(n, d)` architectures, `(n, each)`; what is true twice is there twice."""

    def expected(self, probabilities: Sequence[Tensor]) -> Tensor:
        """How often each fact is true under independent choices, `(..., size)`; at one-hot rows, how often it is."""

    def centred(self, effects: Floats) -> Floats:
        """`(1 + size,)`, a constant and what each fact adds: the same sums, by numbers that mean something."""

    def folded(self, table: Floats) -> Floats:
        """`(size, k)`, what each fact adds, as what `few` add."""

    def few(self, archs: Archs) -> Archs:
        """Rows of the folded table that add up to what all facts of `(n, d)` architectures add."""


@dataclass(frozen=True)
class Genes:
    """Which option each gene has."""

    choices: tuple[int, ...]

    @property
    def size(self) -> int:
        """Options of all genes."""
        return sum(self.choices)

    @property
    def each(self) -> int:
        """Genes."""
        return len(self.choices)

    def rows(self, archs: Archs) -> Archs:
        """Options, counted through all genes."""
        return archs + self._offsets

    def expected(self, probabilities: Sequence[Tensor]) -> Tensor:
        """The probabilities, side by side."""
        import torch

        return torch.cat(list(probabilities), dim=-1)

    def centred(self, effects: Floats) -> Floats:
        """The mean over all architectures, then effects that add up to 0 for each gene."""
        parts = np.split(effects[1:], self._offsets[1:])
        means = [part.mean() for part in parts]
        return np.concatenate(
            [[effects[0] + sum(means)], *(part - mean for part, mean in zip(parts, means, strict=True))]
        )

    def folded(self, table: Floats) -> Floats:
        """As it is."""
        return table

    def few(self, archs: Archs) -> Archs:
        """As `rows`."""
        return self.rows(archs)

    @cached_property
    def _offsets(self) -> Archs:
        return _main_effects.offsets(self.choices)


@dataclass(frozen=True)
class _Cell:
    """A kind of cell.

    Its facts, in this order: places with each operator that read each state; nodes with each pair of operators; for
    each state whether it is read or not; how many nodes are not.
    """

    sources: tuple[int, ...]
    operators: tuple[int, ...]
    outer: int
    options: int

    @property
    def nodes(self) -> int:
        return len(self.sources) // 2

    @property
    def states(self) -> int:
        """Those that can be read: not the last node."""
        return self.outer + self.nodes - 1

    @property
    def edges(self) -> int:
        return self.states * self.options

    @property
    def parts(self) -> tuple[int, ...]:
        """Where each sort of facts begins, and where all end."""
        return tuple(np.cumsum([0, self.edges, self.options**2, 2 * self.states, self.nodes]).tolist())

    def rows(self, archs: Archs, read: Archs) -> list[Archs]:
        source, operator = archs[:, self.sources], archs[:, self.operators]
        of_edges, of_nodes, of_states, of_loose, _ = self.parts
        first, second = operator[:, ::2], operator[:, 1::2]
        pairs = np.minimum(first, second) * self.options + np.maximum(first, second)
        bits = (read[:, None] >> np.arange(self.states)) & 1
        loose = (1 - bits[:, self.outer :]).sum(axis=1, keepdims=True)
        found = [of_edges + source * self.options + operator, of_nodes + pairs]
        return [*found, of_states + 2 * np.arange(self.states) + bits, of_loose + loose]

    def read(self, archs: Archs) -> Archs:
        """The states that are read, as the bits of a number, `(n,)`."""
        return np.asarray(reduce(np.bitwise_or, (1 << archs[:, gene] for gene in self.sources)))

    def expected(self, probabilities: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """How often each fact is true, and the probability that each state is read."""
        import torch
        from torch.nn.functional import pad

        reads = [pad(probabilities[gene], (0, self.states - probabilities[gene].shape[-1])) for gene in self.sources]
        by = [probabilities[gene] for gene in self.operators]
        edges = torch.einsum("e...s,e...o->...so", torch.stack(reads), torch.stack(by)).flatten(-2)
        pairs = torch.einsum("v...a,v...b->...ab", torch.stack(by[::2]), torch.stack(by[1::2]))
        pairs = (pairs.triu() + pairs.tril(-1).transpose(-1, -2)).flatten(-2)
        unread = (1 - torch.stack(reads)).prod(dim=0)
        loose = torch.ones_like(unread[..., :1])
        for share in unread[..., self.outer :, None].unbind(dim=-2):  # of so many nodes none, one, ... is not read
            loose = pad(loose * (1 - share), (0, 1)) + pad(loose * share, (1, 0))
        of_states = torch.stack([unread, 1 - unread], dim=-1).flatten(-2)
        return torch.cat([edges, pairs, of_states, loose], dim=-1), 1 - unread

    def folded(self, table: Floats) -> Floats:
        """Rows of nodes, by both places, then of what is read, by its number."""
        edges, pairs, states, loose = (table[start:end] for start, end in pairwise(self.parts))
        first, second = np.divmod(np.arange(self.edges**2), self.edges)
        left, right = first % self.options, second % self.options
        nodes = edges[first] + edges[second] + pairs[np.minimum(left, right) * self.options + np.maximum(left, right)]
        bits = (np.arange(1 << self.states)[:, None] >> np.arange(self.states)) & 1
        reading = states[2 * np.arange(self.states) + bits].sum(axis=1)
        reading += loose[(1 - bits[:, self.outer :]).sum(axis=1)]
        return np.concatenate([nodes, reading])

    def few(self, archs: Archs, read: Archs) -> list[Archs]:
        edge = archs[:, self.sources] * self.options + archs[:, self.operators]
        return [edge[:, ::2] * self.edges + edge[:, 1::2], self.edges**2 + read[:, None]]


@dataclass(frozen=True)
class Cells:
    """What cells are made of: operators by what they read, pairs of operators, states that are read, and how many not.

    And, for all kinds of cells together, which states from outside they read: a cell that reads one of two passes
    others by, so that all of them run or not.

    Attributes:
        choices: options per gene, each of which is in one place.
        wiring: see `Wiring`.

    Raises:
        ValueError: the wiring is not of these genes.
    """

    choices: tuple[int, ...]
    wiring: Wiring

    def __post_init__(self) -> None:
        genes = [gene for cell in self.wiring for node in cell for place in node for gene in place]
        if sorted(genes) != list(range(len(self.choices))):
            raise ValueError(f"the genes of a wiring must be those of the space, each once, got {genes}")
        for cell in self.wiring:
            outer = self.choices[cell[0][0][0]]
            options = {self.choices[operator] for node in cell for _, operator in node}
            reach = [{self.choices[source] for source, _ in node} for node in cell]
            if len(options) != 1 or reach != [{outer + node} for node in range(len(cell))]:
                raise ValueError(f"nodes of a cell read all states before them, by the same operators, got {cell}")
        if self._readings > _MOST_READINGS:
            raise ValueError(f"there are {self._readings} ways to read the states from outside")

    @property
    def size(self) -> int:
        """Facts of all cells, and the ways to read states from outside."""
        return sum(cell.parts[-1] for cell in self._cells) + self._readings

    @property
    def each(self) -> int:
        """Two places and a pair for each node, each state, a count, and one way to read."""
        return sum(3 * cell.nodes + cell.states + 1 for cell in self._cells) + 1

    def rows(self, archs: Archs) -> Archs:
        """See `Features`."""
        read = [cell.read(archs) for cell in self._cells]
        found, before = [], 0
        for cell, bits in zip(self._cells, read, strict=True):
            found += [before + rows for rows in cell.rows(archs, bits)]
            before += cell.parts[-1]
        return np.concatenate([*found, before + self._reading(read)], axis=1)

    def expected(self, probabilities: Sequence[Tensor]) -> Tensor:
        """See `Features`; exact of places, pairs and states, as if states were read independently for the rest."""
        import torch

        facts, reads = zip(*(cell.expected(probabilities) for cell in self._cells), strict=True)
        reading = torch.ones_like(facts[0][..., :1])
        for cell, read in zip(self._cells, reads, strict=True):
            for state in range(cell.outer):
                share = read[..., state, None]
                reading = torch.cat([reading * (1 - share), reading * share], dim=-1)  # later states are higher bits
        return torch.cat([*facts, reading], dim=-1)

    def centred(self, effects: Floats) -> Floats:
        """As they are."""
        return effects

    def folded(self, table: Floats) -> Floats:
        """Few rows for each architecture: one for a node, one for what a cell reads, one for what all cells do."""
        ends = np.cumsum([cell.parts[-1] for cell in self._cells])
        own = np.split(table, ends)
        return np.concatenate([*(cell.folded(part) for cell, part in zip(self._cells, own, strict=False)), own[-1]])

    def few(self, archs: Archs) -> Archs:
        """See `Features`."""
        read = [cell.read(archs) for cell in self._cells]
        found, before = [], 0
        for cell, bits in zip(self._cells, read, strict=True):
            found += [before + rows for rows in cell.few(archs, bits)]
            before += cell.edges**2 + (1 << cell.states)
        return np.concatenate([*found, before + self._reading(read)], axis=1)

    def _reading(self, read: Sequence[Archs]) -> Archs:
        """The number of the way in which cells read the states from outside, `(n, 1)`."""
        found, bits = np.zeros_like(read[0]), 0
        for cell, mine in zip(self._cells, read, strict=True):
            found |= (mine & ((1 << cell.outer) - 1)) << bits
            bits += cell.outer
        return found[:, None]

    @cached_property
    def _readings(self) -> int:
        return 1 << sum(cell.outer for cell in self._cells)

    @cached_property
    def _cells(self) -> tuple[_Cell, ...]:
        return tuple(
            _Cell(
                tuple(source for node in cell for source, _ in node),
                tuple(operator for node in cell for _, operator in node),
                self.choices[cell[0][0][0]],
                self.choices[cell[0][0][1]],
            )
            for cell in self.wiring
        )


def of(choices: tuple[int, ...], wiring: Wiring = ()) -> Features:
    """The features of a space.

    Raises:
        UsageError: the wiring is not of these genes.
    """
    try:
        return Cells(choices, wiring) if wiring else Genes(choices)
    except (ValueError, TypeError, LookupError) as error:
        raise UsageError(
            f"the wiring is not that of genes with options {choices}: {error}",
            hint="Give for each kind of cell its nodes, each ((source gene, operator gene), (source gene, operator "
            "gene)); or no wiring.",
        ) from error
