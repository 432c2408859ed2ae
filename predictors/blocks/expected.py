"""The expected sum over kernels under independent choices, exactly, for gradients.

The automaton runs once over the places with probabilities in place of genes. What it carries for each edge is the
probability of a way that ends there, and the expected cost along it; ways that lead nowhere end with 0. Genes that
decide places far apart (a width, a resolution) are kept as dimensions from the first place to the last that they
decide, and summed out then; so nothing is assumed independent that is not. Sums of products: multilinear in the
probabilities, and equal to the discrete sum at one-hot ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from predictors.blocks.segments import Segment, joined, segment
from predictors.blocks.table import BlockTable
from predictors.differentiable.protocol import check_probabilities

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]

#: Most numbers that are carried for each row of probabilities.
_MOST_CARRIED = 200_000
#: Most combinations of options of places that are told together.
_MOST_JOINED = 20_000


@dataclass(frozen=True)
class _Step:
    """Places in a row.

    Attributes:
        own: genes that decide these places alone.
        shared: genes that are kept as dimensions here, ascending.
        gone: positions in `shared` of those that are summed out behind them.
        moves: `(own options, shared options..., edges, edges)`: 1 where there is a way; a shared gene that does not
            decide these places has one option here.
        adds: as `moves`: what the way costs.
    """

    own: tuple[int, ...]
    shared: tuple[int, ...]
    gone: tuple[int, ...]
    moves: Floats
    adds: Floats


class ExpectedBlocks:
    """Expected cost of the networks of a `BlockTable`; a `DifferentiableCost`.

    Args:
        table: sums over kernels.
        weights: `(q,)`, what each of the table's columns counts in the cost.
        constant: of each network.
        otherwise: what counts for networks with a context that was never seen, without the constant.

    Raises:
        UsageError: too many genes decide places that lie far apart.
    """

    def __init__(self, table: BlockTable, weights: Floats, constant: float, otherwise: float) -> None:
        self._otherwise = otherwise
        self._table = table
        self._weights = weights
        self._constant = constant
        self._tensors: dict[tuple[Any, Any], list[tuple[Tensor, Tensor]]] = {}
        carried = max(prod(table.choices[g] for g in step.shared) for step in self._steps)
        carried *= table.contexts.entries.shape[1]
        if carried > _MOST_CARRIED:
            raise UsageError(
                f"the expected cost of this space carries {carried} numbers; {_MOST_CARRIED} are the most",
                hint="Restrict genes that decide many places, such as a resolution.",
            )

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""
        return self._table.choices

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Expected cost, `(...)`, of probabilities `(..., options)` for each gene; see `DifferentiableCost`.

        Raises:
            UsageError: the number of genes or of their options is another.
        """
        check_probabilities(probabilities, self.choices)
        first = probabilities[0]
        lead = first.shape[:-1]
        flat = [p.reshape(-1, p.shape[-1]) for p in probabilities]
        of = self._table.contexts
        rows = len(flat[0])
        chance = first.new_zeros(rows, of.entries.shape[1])
        chance[:, of.start] = 1.0
        cost = first.new_zeros(rows, of.entries.shape[1])
        kept: tuple[int, ...] = ()
        for step, (moves, adds) in zip(self._steps, self._constants(first), strict=True):
            chance, cost = (_widened(carried, kept, step.shared, flat) for carried in (chance, cost))
            own = first.new_ones(rows, 1)
            for gene in step.own:
                own = (own[:, :, None] * flat[gene][:, None, :]).reshape(rows, -1)
            move, add = _mixed(own, moves), _mixed(own, adds)
            cost = (cost[..., None, :] @ move + chance[..., None, :] @ add)[..., 0, :]
            chance = (chance[..., None, :] @ move)[..., 0, :]
            if step.gone:
                gone = tuple(1 + place for place in step.gone)
                chance, cost = chance.sum(dim=gone), cost.sum(dim=gone)
            kept = tuple(gene for place, gene in enumerate(step.shared) if place not in step.gone)
        total = cost[:, of.end] + (1.0 - chance[:, of.end]) * self._otherwise
        return (total + self._constant).reshape(lead)

    @cached_property
    def _steps(self) -> list[_Step]:
        table = self._table
        costs = (table.padded @ self._weights)[: len(table.columns), None]
        groups = joined(table.places.places, table.choices, most=_MOST_JOINED, only_inner=True)
        segments = [segment(group, table.contexts, costs, table.choices) for group in groups]
        first = {gene: i for i, one in reversed(list(enumerate(segments))) for gene in one.genes}
        last = {gene: i for i, one in enumerate(segments) for gene in one.genes}
        found = []
        for i, one in enumerate(segments):
            shared = tuple(sorted(gene for gene, at in first.items() if at <= i <= last[gene] and at < last[gene]))
            gone = tuple(at for at, gene in enumerate(shared) if last[gene] == i)
            found.append(self._step(one, shared, gone))
        return found

    def _step(self, one: Segment, shared: tuple[int, ...], gone: tuple[int, ...]) -> _Step:
        own = tuple(gene for gene in one.genes if gene not in shared)
        choices, edges = self._table.choices, one.moves.shape[-1]
        ordered = [one.genes.index(gene) for gene in (*own, *(g for g in shared if g in one.genes))]
        axes = (*ordered, len(one.genes), len(one.genes) + 1)
        shape = (prod(choices[g] for g in own), *(choices[g] if g in one.genes else 1 for g in shared), edges, edges)
        moves, adds = (np.transpose(a, axes).reshape(shape) for a in (one.moves, one.sums[..., 0]))
        return _Step(own, shared, gone, moves, adds)

    def _constants(self, like: Tensor) -> list[tuple[Tensor, Tensor]]:
        import torch

        def tensor(array: Floats) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(array), dtype=like.dtype, device=like.device)

        key = (like.dtype, like.device)
        if key not in self._tensors:
            self._tensors[key] = [(tensor(step.moves), tensor(step.adds)) for step in self._steps]
        return self._tensors[key]


def _mixed(own: Tensor, tensor: Tensor) -> Tensor:
    """A tensor `(own options, ...)` under probabilities `(rows, own options)`: `(rows, ...)`."""
    return (own @ tensor.reshape(len(tensor), -1)).reshape(len(own), *tensor.shape[1:])


def _widened(carried: Tensor, kept: tuple[int, ...], shared: tuple[int, ...], flat: list[Tensor]) -> Tensor:
    """What is carried, with a dimension for each gene that is new, weighted by its probabilities."""
    for place, gene in enumerate(shared):
        if gene not in kept:
            carried = carried.unsqueeze(1 + place)
            before, behind = (1,) * place, (1,) * (carried.ndim - 2 - place)
            carried = carried * flat[gene].reshape(len(carried), *before, flat[gene].shape[-1], *behind)
    return carried
