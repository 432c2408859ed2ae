"""A learned cost that knows which edges a graph has: whether any of its places has an operator that reads a state.

Where genes wire a cell, what a network costs hangs on what several of them have in common: a state that nobody reads is
part of the output, and two equal operators that read one state may be one kernel. That is a product over places, which
a small network learns badly from genes and need not learn: under independent choices, the probability that no place has
an edge is the product of those that each has it not, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from device_profiles.errors import UsageError
from predictors.differentiable import _files
from predictors.differentiable.network import NetworkCost
from predictors.differentiable.protocol import Archs, Floats, check_probabilities
from predictors.genes import checked
from predictors.prediction import Prediction

if TYPE_CHECKING:
    from torch import Tensor

Places = tuple[tuple[int, int], ...]
"""Of a cell: the gene of the state that is read, and that of the operator which reads it."""

Wiring = tuple[Places, ...]
"""For each kind of cell its places."""

#: Architectures that are predicted at once: what fits into a core's cache.
_CHUNK = 4096


def wiring_of(space: Any) -> Wiring:
    """What a space says of its cells; () where it says nothing."""
    return tuple(tuple((int(a), int(b)) for a, b in places) for places in getattr(space, "wiring", ()))


@dataclass(frozen=True)
class EdgeCost:
    """A cost that was learned from genes, and from which edges are there; a `DifferentiableCost`.

    Attributes:
        choices: options per gene.
        wiring: places of each kind of cell; a gene stands in one place alone.
        cost: of genes, then of each kind of cell whether each edge is there, 0 or 1, state by state, and whether each
            state is read.
    """

    choices: tuple[int, ...]
    wiring: Wiring
    cost: NetworkCost

    @staticmethod
    def fit(choices: Sequence[int], wiring: Wiring, archs: Archs, values: Floats, **how: Any) -> EdgeCost:
        """Learn from architectures `(n, d)` and their costs `(n,)`; see `NetworkCost.fit`.

        Raises:
            UsageError: the wiring names no gene, or one twice; or as there.
            InvalidTable: as there.
        """
        choices = tuple(int(options) for options in choices)
        if wrong := _wrong(choices, wiring):
            raise UsageError(wrong, hint="Let the space's `wiring` name each gene of a state and of an operator once.")
        archs = checked(archs, choices)
        whole = choices + (2,) * sum(_facts(choices, places) for places in wiring)
        there = [_there(choices, places, archs) for places in wiring]
        return EdgeCost(choices, wiring, NetworkCost.fit(whole, np.concatenate([archs, *there], axis=1), values, **how))

    @property
    def unit(self) -> str:
        """Of the cost."""
        return self.cost.unit

    @property
    def half_width(self) -> float | None:
        """Relative half-width of the 90 % interval."""
        return self.cost.half_width

    def predict(self, archs: Archs) -> Prediction:
        """Cost of `(n, d)` architectures, with the 90 % interval where there is one.

        Raises:
            UsageError: the shape or a gene is outside of the space.
        """
        import torch

        archs = checked(archs, self.choices)
        folded = self._folded
        found = np.empty(len(archs))
        with torch.inference_mode():
            for first in range(0, len(archs), _CHUNK):
                index = torch.from_numpy(folded.rows(archs[first : first + _CHUNK]))
                entered = torch.nn.functional.embedding_bag(index, folded.table, mode="sum") + folded.start
                found[first : first + _CHUNK] = self.cost.surface.entered(entered[:, 0], entered[:, 1:]).numpy()
        return self.cost.around(found)

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Cost of `(..., options)` for each gene: `(...)`, in the precision that was given; see `DifferentiableCost`.

        Raises:
            UsageError: the number of genes or of their options is another.
        """
        import torch

        check_probabilities(probabilities, self.choices)
        doubles = [p.double() for p in probabilities]
        lead = doubles[0].shape[:-1]
        parts = list(doubles)
        for places in self.wiring:
            states, operators = _sizes(self.choices, places)
            absent, unread = doubles[0].new_ones((*lead, states, operators)), doubles[0].new_ones((*lead, states))
            for source, operator in places:
                read, by = (
                    torch.nn.functional.pad(doubles[gene], (0, most - self.choices[gene]))
                    for gene, most in ((source, states), (operator, operators))
                )
                absent = absent * (1 - read[..., :, None] * by[..., None, :])
                unread = unread * (1 - read)
            none = torch.cat([absent.flatten(-2), unread], dim=-1)
            parts.append(torch.stack([none, 1 - none], dim=-1).flatten(-2))
        entered = torch.cat(parts, dim=-1) @ self._whole.to(doubles[0].device)
        linear = entered[..., 0] + float(self.cost.surface.effects[0])
        return self.cost.surface.entered(linear, entered[..., 1:]).to(probabilities[0].dtype)

    def to_tensors(self) -> tuple[_files.Facts, _files.Tensors]:
        """The cost as JSON-ready facts and arrays."""
        facts, tensors = self.cost.to_tensors()
        return facts | {"genes": len(self.choices), "wiring": self.wiring}, tensors

    @staticmethod
    def of_tensors(facts: _files.Facts, tensors: _files.Tensors) -> EdgeCost:
        """Read what `to_tensors` made.

        Raises:
            ValueError: the data make no cost.
            LookupError: something is missing.
        """
        cost = NetworkCost.of_tensors(facts, tensors)
        wiring = tuple(tuple((int(a), int(b)) for a, b in places) for places in facts["wiring"])
        choices, facts_of = cost.choices[: int(facts["genes"])], cost.choices[int(facts["genes"]) :]
        if wrong := _wrong(choices, wiring):
            raise ValueError(wrong)
        if facts_of != (2,) * sum(_facts(choices, places) for places in wiring):
            raise ValueError(f"a wiring of {len(wiring)} kinds of cells has other facts than {len(facts_of)}")
        return EdgeCost(choices, wiring, cost)

    @cached_property
    def _whole(self) -> Tensor:
        """What each option of the extended genes adds to the main effects and the first layer, `(options, 1 + h)`."""
        import torch

        surface = self.cost.surface
        hidden = np.zeros((sum(surface.choices), 0)) if surface.network is None else surface.network.entry
        with torch.inference_mode(False):
            return torch.tensor(np.concatenate([surface.effects[1:, None], hidden], axis=1))

    @cached_property
    def _folded(self) -> _Folded:
        return _Folded.of(self.choices, self.wiring, self._whole.numpy(), float(self.cost.surface.effects[0]))


@dataclass(frozen=True)
class _Folded:
    """Few rows for each architecture: one for both genes of a place, and what is absent is in the start.

    Attributes:
        choices: options per gene.
        wiring: places of each kind of cell.
        table: `(rows, 1 + h)`; the last row is nothing, for what is there twice.
        start: `(1 + h,)`.
    """

    choices: tuple[int, ...]
    wiring: Wiring
    table: Tensor
    start: Tensor

    @staticmethod
    def of(choices: tuple[int, ...], wiring: Wiring, whole: Floats, intercept: float) -> _Folded:
        """From what options of genes, and then facts that are 0 or 1, add: `(options, 1 + h)`."""
        import torch

        own = sum(choices)
        genes = np.split(whole[:own], np.cumsum(choices)[:-1])
        wired = [place for places in wiring for place in places]
        rows = [genes[gene] for gene in _free(choices, wiring)]
        rows += [(genes[a][:, None] + genes[b][None]).reshape(-1, whole.shape[1]) for a, b in wired]
        absent, there = whole[own::2], whole[own + 1 :: 2]
        start = absent.sum(axis=0)
        start[0] += intercept
        table = np.concatenate([*rows, there - absent, np.zeros((1, whole.shape[1]))])
        return _Folded(choices, wiring, torch.from_numpy(table), torch.from_numpy(start))

    def rows(self, archs: Archs) -> Archs:
        """Rows of the table for architectures `(n, d)`."""
        found, before = [], 0
        for gene in _free(self.choices, self.wiring):
            found.append(archs[:, [gene]] + before)
            before += self.choices[gene]
        for a, b in (place for places in self.wiring for place in places):
            found.append(archs[:, [a]] * self.choices[b] + archs[:, [b]] + before)
            before += self.choices[a] * self.choices[b]
        for places in self.wiring:
            edges, read = _numbers(self.choices, places, archs)
            for numbers in (edges, read):
                rows = np.sort(before + numbers, axis=1)
                rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = len(self.table) - 1
                found.append(rows)
            before += _facts(self.choices, places)
        return np.concatenate(found, axis=1)


def _free(choices: tuple[int, ...], wiring: Wiring) -> list[int]:
    """Genes that wire nothing."""
    wired = {gene for places in wiring for place in places for gene in place}
    return [gene for gene in range(len(choices)) if gene not in wired]


def _wrong(choices: tuple[int, ...], wiring: Wiring) -> str:
    """What is wrong with a wiring of genes, or ""."""
    genes = [gene for places in wiring for place in places for gene in place]
    if len(set(genes)) == len(genes) and all(0 <= gene < len(choices) for gene in genes):
        return ""
    return f"the wiring names a gene twice, or one that is none of the {len(choices)}: {wiring}"


def _sizes(choices: tuple[int, ...], places: Places) -> tuple[int, int]:
    """Most options of the genes that say what is read, and of those that say by what."""
    return max((choices[a] for a, _ in places), default=0), max((choices[b] for _, b in places), default=0)


def _facts(choices: tuple[int, ...], places: Places) -> int:
    """How many edges there may be, and states that may be read."""
    states, operators = _sizes(choices, places)
    return states * operators + states


def _numbers(choices: tuple[int, ...], places: Places, archs: Archs) -> tuple[Archs, Archs]:
    """Which facts the edge at each place and the state that it reads are, `(n, places)` each."""
    states, operators = _sizes(choices, places)
    read, by = archs[:, [a for a, _ in places]], archs[:, [b for _, b in places]]
    return read * operators + by, read + states * operators


def _there(choices: tuple[int, ...], places: Places, archs: Archs) -> Archs:
    """For each fact whether it is so, 0 or 1, `(n, facts)`."""
    found = np.zeros((len(archs), _facts(choices, places)), dtype=np.int64)
    for numbers in _numbers(choices, places, archs):
        np.put_along_axis(found, numbers, 1, axis=1)
    return found
