"""The mixed form of a space: which blocks may stand where, and which genes' gates weigh them.

All blocks that the genes of a place can choose stand there side by side; the value of the place is their sum, each
weighted by the products of the gates that choose it. At one-hot gates it is the network of that architecture.

Source: Liu, Simonyan & Yang, "DARTS: differentiable architecture search", ICLR 2019, section 2.2, with gates in place
    of the softmax; with several genes for one block, the multilinear extension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Archs, Floats
from profiler.assembly import Block

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Term:
    """One of the blocks that may stand at a place.

    Attributes:
        inputs: names of the places (or the network's input) that it reads.
        block: its `name` and `key` say whose weights it has; None hands on what it reads.
        genes: that choose it; none if it is always there.
        options: `(k, genes)`, all combinations of their options that choose it.
    """

    inputs: tuple[str, ...]
    block: Block | None
    genes: tuple[int, ...] = ()
    options: NDArray[np.int64] | None = None

    def share(self, gates: Sequence[Floats]) -> float:
        """The weight at gates that are numbers, each `(options,)`; 1 if the block is always there."""
        if self.options is None:
            return 1.0
        found = np.ones(len(self.options))
        for column, gene in enumerate(self.genes):
            found *= gates[gene][self.options[:, column]]
        return float(np.abs(found).sum())

    def weight(self, gates: Sequence[Tensor]) -> Tensor | None:
        """The same as a scalar tensor that gradients reach, of gates `(options,)`; None if it is always there."""
        if self.options is None:
            return None
        found: Any = 1.0
        for column, gene in enumerate(self.genes):
            found = found * gates[gene][self.options[:, column]]
        total: Tensor = found.sum()
        return total


@dataclass(frozen=True, eq=False)
class Place:
    """What stands side by side; `name` is what later ones read."""

    name: str
    terms: tuple[Term, ...]


@dataclass(frozen=True, eq=False)
class Mixture:
    """The places of a space, in an order in which they can be run; the last is the output.

    Attributes:
        places: in order.
        arranged: brings the gates of an architecture, one `(options,)` for each gene, to those of its canonical one,
            where the same network may be written in several ways; None if the places do not depend on that.
        in_a_row: each place reads the one before it. Then blocks of a network are matched with places one after the
            other, so that it does not matter at which of several places a canonical network has them.
    """

    places: tuple[Place, ...]
    arranged: Callable[[Archs, Sequence[Tensor]], Sequence[Tensor]] | None = None
    in_a_row: bool = False


def one_hot(gates: Sequence[Floats]) -> Archs | None:
    """The architecture `(d,)` of gates, each `(options,)`, of which one is not 0 for each gene; None for others."""
    if any(np.count_nonzero(gate) != 1 for gate in gates):
        return None
    return np.array([int(np.flatnonzero(gate)[0]) for gate in gates], dtype=np.int64)


def genes_of_shapes(chosen: Sequence[tuple[Term, tuple[int, ...]]], gates: Sequence[Floats]) -> set[int]:
    """Genes whose options with gates, each `(options,)`, that are not 0 give different shapes at one place.

    Args:
        chosen: terms of the place, and the shapes that they give.
        gates: as numbers.
    """
    found = set()
    for gene in {gene for term, _ in chosen for gene in term.genes}:
        seen: dict[tuple[tuple[int, int], ...], tuple[int, ...]] = {}
        for term, shape in chosen:
            if term.options is None:
                continue
            for row in term.options.tolist():
                pairs = tuple(zip(term.genes, row, strict=True))
                if all(gates[at][option] for at, option in pairs):
                    others = tuple(pair for pair in pairs if pair[0] != gene)
                    if seen.setdefault(others, shape) != shape:
                        found.add(gene)
    return found
