"""The expected sum over kernels under independent choices, exactly, for gradients.

The automaton runs once over the places with probabilities in place of genes. What it carries for each state is the
probability of being there and the expected cost of the last block, by what may be asked of it. Genes that decide
several places (a depth, a resolution) are kept as dimensions from the first place to the last that they decide, and
summed out then; so nothing is assumed independent that is not. Sums of products: multilinear in the probabilities, and
equal to the discrete sum at one-hot ones.
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
from predictors.blocks.places import NONE
from predictors.blocks.table import BlockTable
from predictors.differentiable.protocol import check_probabilities

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]

#: Most numbers that are carried for each row of probabilities.
_MOST_CARRIED = 200_000


@dataclass(frozen=True)
class _Step:
    """One place.

    Attributes:
        own: genes that decide this place alone.
        shared: genes that are kept as dimensions here, ascending.
        gone: positions in `shared` of those that are summed out behind it.
        moves: `(own options, shared options..., states, states)`: 1 from each state to the next.
        closes: `(own, shared..., states, asks)`: 1 where a block asks that of the one before.
        adds: `(own, shared..., states, states, asks)`: cost of the block that is there, by next state and by what may be
            asked of it; 0 where there is none.
        stays: `(own, shared...)`: 1 where there is no block.
    """

    own: tuple[int, ...]
    shared: tuple[int, ...]
    gone: tuple[int, ...]
    moves: Floats
    closes: Floats
    adds: Floats
    stays: Floats


class ExpectedBlocks:
    """Expected cost of the networks of a `BlockTable`; a `DifferentiableCost`.

    Args:
        table: sums over kernels.
        weights: `(q,)`, what each of the table's columns counts in the cost.
        constant: of each network.

    Raises:
        UsageError: too many genes decide places that lie far apart.
    """

    def __init__(self, table: BlockTable, weights: Floats, constant: float) -> None:
        self._table = table
        self._weights = weights
        self._constant = constant
        self._tensors: dict[tuple[Any, Any], list[tuple[Tensor, ...]]] = {}
        carried = max(prod(table.choices[g] for g in step.shared) for step in self._steps)
        carried *= table.contexts.step.shape[1] * table.contexts.entries.shape[2]
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
        states, demands = of.step.shape[1], of.entries.shape[2]
        rows = len(flat[0])
        mass = first.new_zeros(rows, states)
        mass[:, of.start] = 1.0
        pending = first.new_zeros(rows, states, demands)
        total = first.new_zeros(rows)
        kept: tuple[int, ...] = ()
        for step, (moves, closes, adds, stays) in zip(self._steps, self._constants(first), strict=True):
            mass, pending = _widened(mass, pending, kept, step.shared, flat)
            own = first.new_ones(rows, 1)
            for gene in step.own:
                own = (own[:, :, None] * flat[gene][:, None, :]).reshape(rows, -1)
            move, close, add, stay = (_mixed(own, tensor) for tensor in (moves, closes, adds, stays))
            axes = tuple(range(1, 1 + len(step.shared)))
            total = total + (pending * close).sum(dim=(*axes, -2, -1))
            passed = (mass[..., None, None] * add).sum(dim=-3)
            pending = pending * stay[..., None, None] + passed
            mass = mass * stay[..., None] + (mass[..., None] * move).sum(dim=-2)
            if step.gone:
                gone = tuple(1 + place for place in step.gone)
                mass, pending = mass.sum(dim=gone), pending.sum(dim=gone)
            kept = tuple(gene for place, gene in enumerate(step.shared) if place not in step.gone)
        total = total + pending[..., of.end].sum(dim=tuple(range(1, pending.ndim - 1)))
        return (total + self._constant).reshape(lead)

    @cached_property
    def _steps(self) -> list[_Step]:
        table = self._table
        places = [place.genes for place in table.places.places]
        first = {gene: min(i for i, genes in enumerate(places) if gene in genes) for genes in places for gene in genes}
        last = {gene: max(i for i, genes in enumerate(places) if gene in genes) for genes in places for gene in genes}
        found = []
        for i in range(len(places)):
            shared = tuple(sorted(gene for gene in first if first[gene] <= i <= last[gene] and first[gene] < last[gene]))
            own = tuple(gene for gene in places[i] if gene not in shared)
            gone = tuple(at for at, gene in enumerate(shared) if last[gene] == i)
            found.append(self._step(i, own, shared, gone))
        return found

    def _step(self, i: int, own: tuple[int, ...], shared: tuple[int, ...], gone: tuple[int, ...]) -> _Step:
        table = self._table
        of, place = table.filled, table.places.places[i]
        states, demands = of.step.shape[1], of.entries.shape[2]
        options = [table.choices[gene] for gene in (*own, *shared)]
        codes = np.where(place.codes != NONE, np.where(of.empty[place.codes], NONE, place.codes), NONE)
        order = [place.genes.index(gene) for gene in (*own, *shared) if gene in place.genes]
        shape = [n if gene in place.genes else 1 for gene, n in zip((*own, *shared), options, strict=True)]
        code = np.transpose(codes, order).reshape(prod(table.choices[g] for g in own), *shape[len(own) :])
        live = code != NONE
        moves = np.zeros((*code.shape, states, states))
        closes = np.zeros((*code.shape, states, demands))
        adds = np.zeros((*code.shape, states, states, demands))
        costs = table.padded @ self._weights
        for where in map(tuple, np.argwhere(live).tolist()):
            block = code[where]
            for state in range(states):
                following = of.step[block, state]
                moves[(*where, state, following)] = 1.0
                closes[(*where, state, of.asks[block, state])] = 1.0
                adds[(*where, state, following)] = costs[of.entries[block, state]]
        return _Step(own, shared, gone, moves, closes, adds, (~live).astype(np.float64))

    def _constants(self, like: Tensor) -> list[tuple[Tensor, ...]]:
        import torch

        key = (like.dtype, like.device)
        if key not in self._tensors:
            self._tensors[key] = [
                tuple(
                    torch.as_tensor(array, dtype=like.dtype, device=like.device)
                    for array in (step.moves, step.closes, step.adds, step.stays)
                )
                for step in self._steps
            ]
        return self._tensors[key]


def _mixed(own: Tensor, tensor: Tensor) -> Tensor:
    """A tensor `(own options, ...)` under probabilities `(rows, own options)`: `(rows, ...)`."""
    return (own @ tensor.reshape(len(tensor), -1)).reshape(len(own), *tensor.shape[1:])


def _widened(
    mass: Tensor, pending: Tensor, kept: tuple[int, ...], shared: tuple[int, ...], flat: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """What is carried, with a dimension for each gene that is new, weighted by its probabilities."""
    for place, gene in enumerate(shared):
        if gene not in kept:
            mass, pending = mass.unsqueeze(1 + place), pending.unsqueeze(1 + place)
            weight = flat[gene].reshape(
                len(mass), *(1,) * place, flat[gene].shape[-1], *(1,) * (mass.ndim - 2 - place)
            )
            mass, pending = mass * weight, pending * weight[..., None]
    return mass, pending
