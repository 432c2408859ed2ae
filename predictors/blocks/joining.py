"""Fused graphs of any network of a space, put together from stretches of networks that were compiled.

The automaton of `predictors.blocks.contexts` tells which stretch of kernels each block of a genome has; one behind the
other they are the graph that compiling the network gives. It is for costs that are no sums over kernels.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.blocks.building import Blocks
from predictors.blocks.contexts import UNSEEN
from predictors.blocks.places import NONE, Archs, Codes, NotLocal
from predictors.blocks.table import BlockTable, of_tensors, to_tensors
from profiler.operators import Operator, OperatorGraph, operator_from_plain, operator_to_plain
from profiler.stretches import CONSTANT, LEFT_OUT, Stretch, crossing, joined

#: Columns of sums that a table of blocks has at least, all 0 here.
_COLUMNS = 4


@dataclass(frozen=True)
class Joining:
    """What networks of a space are put together from.

    Attributes:
        table: tells of each block which entry it is.
        stretches: of each entry.
        kernels: that stretches speak of.
        runtime: whose they are.

    Raises:
        ValueError: a stretch reads what does not cross the edge before it, or kernels that are not there.
    """

    table: BlockTable
    stretches: tuple[Stretch, ...]
    kernels: tuple[Operator, ...]
    runtime: str

    def __post_init__(self) -> None:
        if len(self.stretches) != len(self.table.columns):
            raise ValueError(f"{len(self.table.columns)} entries have {len(self.stretches)} stretches")
        for stretch in self.stretches:
            _require_whole(stretch, self.kernels)
        entries = self.table.contexts.entries
        given = np.full(entries.shape[1], np.iinfo(np.int64).max)
        wanted = np.zeros(entries.shape[1], dtype=np.int64)
        given[self.table.contexts.start] = 1  # the network's input
        for block, before, behind in np.argwhere(entries != UNSEEN).tolist():
            stretch = self.stretches[entries[block, before, behind]]
            given[behind] = min(given[behind], len(stretch.gives))
            wanted[before] = max(wanted[before], crossing(stretch))
        if (wanted > given).any():
            raise ValueError("a stretch reads more than crosses the edge before it")

    @staticmethod
    def of(found: Blocks, runtime: str) -> Joining:
        """From compiled networks.

        Raises:
            NotLocal: stretches of different networks do not fit together.
        """
        entries = found.contexts.kernels
        table = BlockTable(
            found.choices, found.places, found.contexts, np.zeros((len(entries), _COLUMNS)), ((),) * len(entries)
        )
        try:
            return Joining(table, tuple(found.stretches[own[0][0]] for own in entries), found.kernels, runtime)
        except ValueError as error:
            raise NotLocal(str(error)) from error

    def entries(self, archs: Archs) -> Codes:
        """Entries of the blocks of genomes `(n, d)`, `(n, places)`; equal rows are equal networks."""
        return self.table.entries(archs)

    def known(self, entries: Codes) -> NDArray[np.bool_]:
        """Whether each block of networks `(n, places)` stands between neighbours that a compiled one has, `(n,)`."""
        return np.asarray((entries < len(self.stretches)).all(axis=1))

    def graph(self, entries: Codes) -> OperatorGraph:
        """The fused graph of a network that is known, `(places,)`."""
        return joined(
            [self.stretches[entry] for entry in entries.tolist() if entry != NONE], self.kernels, self.runtime
        )


def held_graphs(found: Blocks, runtime: str) -> list[OperatorGraph]:
    """The graphs that the held networks were compiled to, from their own stretches."""
    return [joined([found.stretches[i] for i in network], found.kernels, runtime) for network in found.held_kernels]


def to_arrays(of: Joining) -> tuple[dict[str, Any], dict[str, Any]]:
    """It as arrays and JSON-ready facts."""
    tensors, facts = to_tensors(of.table)
    rows = [_row(stretch) for stretch in of.stretches]
    tensors["rows"] = np.array(list(itertools.chain.from_iterable(rows)), dtype=np.int32)
    tensors["lengths"] = np.array([len(row) for row in rows], dtype=np.int64)
    kernels = [operator_to_plain(kernel) for kernel in of.kernels]
    return tensors, {**facts, "kernels": kernels, "runtime": of.runtime}


def of_arrays(tensors: Mapping[str, Any], facts: Mapping[str, Any], choices: tuple[int, ...]) -> Joining:
    """Read what `to_arrays` made.

    Raises:
        ValueError: a number is outside of what it may be, or they contradict each other.
        LookupError: something is missing.
    """
    rows, lengths = tensors["rows"], tensors["lengths"]
    if rows.dtype.kind != "i" or lengths.dtype.kind != "i" or rows.ndim != 1 or lengths.ndim != 1:
        raise ValueError("rows and lengths of stretches must be whole numbers in a row")
    if (lengths < 0).any() or lengths.sum() != len(rows):
        raise ValueError(f"stretches have {lengths.sum()} numbers, and there are {len(rows)}")
    kernels = tuple(operator_from_plain(plain) for plain in facts["kernels"])
    stretches = tuple(_stretch(row.tolist()) for row in np.split(rows, np.cumsum(lengths)[:-1]))
    return Joining(of_tensors(tensors, facts, choices), stretches, kernels, str(facts["runtime"]))


def _row(stretch: Stretch) -> list[int]:
    """A stretch as integers: how many values it gives, then these; of each kernel its number and what it reads."""
    row = [len(stretch.gives), *stretch.gives]
    for kernel, reads in zip(stretch.kernels, stretch.reads, strict=True):
        row += [kernel, len(reads), *reads]
    return row


def _stretch(row: Sequence[int]) -> Stretch:
    """Read what `_row` made.

    Raises:
        ValueError: it is cut short.
    """
    at = 1 + row[0] if row else 0
    gives, kernels, reads = tuple(row[1:at]), [], []
    while 0 < at < len(row) - 1:
        kernels.append(row[at])
        end = at + 2 + row[at + 1]
        reads.append(tuple(row[at + 2 : end]))
        at = max(end, at + 2)
    if at != len(row) or not kernels:
        raise ValueError("a stretch of kernels is cut short")
    return Stretch(tuple(kernels), tuple(reads), gives)


def _require_whole(stretch: Stretch, kernels: Sequence[Operator]) -> None:
    """Refuse a stretch whose kernels are not there, or read what is not written before.

    Raises:
        ValueError: it says which.
    """
    written = 0
    for kernel, reads in zip(stretch.kernels, stretch.reads, strict=True):
        if not 0 <= kernel < len(kernels):
            raise ValueError(f"a stretch has kernel {kernel} of {len(kernels)}")
        inputs = kernels[kernel].inputs
        if len(reads) != len(inputs) or max(reads, default=-1) >= written:
            raise ValueError(f"a kernel of {len(inputs)} inputs reads {reads} of {written} values")
        if any(tensor is None and value != LEFT_OUT for value, tensor in zip(reads, inputs, strict=True)):
            raise ValueError("a kernel reads what it leaves out")
        written += len(kernels[kernel].outputs)
    if not all(value < CONSTANT or 0 <= value < written for value in stretch.gives):
        raise ValueError(f"a stretch gives {stretch.gives} of {written} values")
