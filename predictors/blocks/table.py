"""Sums over the kernels of any network of a space, by a gather for each place.

The automaton of `predictors.blocks.contexts` runs over the places of many genomes at once; what each block adds was
summed over its kernels beforehand. So a genome costs as many look-ups as its networks have places, and is what
compiling it and adding up its kernels gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.blocks.contexts import LOWEST, MOST_EDGES, UNSEEN, Contexts
from predictors.blocks.places import NONE, Archs, Codes, Place, Places
from predictors.blocks.quick import Quick
from predictors.genes import checked, flat_index, strides

Floats = NDArray[np.float64]
Missing = tuple[tuple[str, ...], ...]

#: Genomes that are looked up at once: what they need stays in the processor's caches.
_CHUNK = 4096
#: Columns of `BlockTable.columns` as in `predictors.network.Additive`.
_COST, _KNOWN, _UNKNOWN = 0, 2, 3
#: Key of what stands for kernels of a context that no compiled network has.
GUESSED = "kernels of a block between neighbours that no compiled network has"


@dataclass(frozen=True)
class BlockTable:
    """What networks of a space add up to.

    Attributes:
        choices: options per gene.
        places: what stands where.
        contexts: which kernels it has there.
        columns: `(entries, q)`, sums over the kernels of each entry of `contexts`.
        missing: for each entry, keys of its kernels that are not fully known.
    """

    choices: tuple[int, ...]
    places: Places
    contexts: Contexts
    columns: Floats
    missing: Missing

    def totals(self, archs: Archs) -> tuple[Floats, Missing]:
        """Sums `(n, q)` over the kernels of genomes `(n, d)`, and for each the keys of kernels that are not known.

        Raises:
            UsageError: the shape or a gene is outside of the space.
        """
        archs = checked(archs, self.choices)
        totals = np.empty((len(archs), self.columns.shape[1]))
        missing: list[tuple[str, ...]] = []
        for start in range(0, len(archs), _CHUNK):
            rows = archs[start : start + _CHUNK]
            found, ways = self._quick.totals(rows)
            if not ways.all():
                found[~ways] = self.padded[self.entries(rows[~ways])].sum(axis=1)
            totals[start : start + _CHUNK] = found
            lacking = ~ways | (found[:, _UNKNOWN] > 0)
            keys: list[tuple[str, ...]] = [()] * len(rows)
            for row, own in zip(np.flatnonzero(lacking), self._missing_of(self.entries(rows[lacking])), strict=True):
                keys[row] = own
            missing += keys
        return totals, tuple(missing)

    @cached_property
    def _quick(self) -> Quick:
        return Quick.of(self.places.places, self.contexts, self.columns, self.choices)

    def entries(self, archs: Archs) -> Codes:
        """Entries of the blocks of genomes `(n, d)`, `(n, places)`; `NONE` where no kernel runs.

        Those that no compiled network has are numbered behind the others, by their block.
        """
        return self._entry_of[self.uses(archs)]

    @cached_property
    def _entry_of(self) -> Codes:
        guesses = len(self.columns) + np.arange(len(self.contexts.entries), dtype=np.int32)
        return np.concatenate([self.contexts.entries.reshape(-1), guesses, np.array([NONE], dtype=np.int32)])

    def uses(self, archs: Archs) -> NDArray[np.int64]:
        """Where in the table of entries the blocks of genomes `(n, d)` are, `(n, places)`.

        `NONE` where no kernel runs; behind all entries, by the block's number, where the context was never seen.
        """
        of = self.contexts
        edges = of.entries.shape[1]
        forward, back, possible = self._bits
        by_gene = np.ascontiguousarray(archs.T)
        codes: list[Any] = []
        masks: list[Any] = []
        mask: Any = np.full(len(archs), 1 << of.start, dtype=np.int16)
        for flat, apart, genes in self._codes:
            code = flat[flat_index(by_gene, genes, apart)]
            codes.append(code)
            masks.append(mask)
            behind = forward[(code << edges) + mask]
            behind = np.where(behind == 0, possible[code], behind)
            mask = np.where(code != NONE, behind, mask)
        edge: Any = np.full(len(archs), of.end, dtype=np.int64)
        found = np.empty((len(codes), len(archs)), dtype=np.int64)
        guesses = len(of.entries) * edges * edges
        for place in reversed(range(len(codes))):
            code, mask = codes[place], masks[place]
            before = back[code * edges + edge] & mask
            known = before != 0
            chosen = LOWEST[np.where(known, before, mask)]
            use = np.where(known, (code * edges + chosen) * edges + edge, guesses + code)
            live = code != NONE
            found[place] = np.where(live, use, NONE)
            edge = np.where(live, chosen, edge)
        return found.T

    @cached_property
    def _bits(self) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.int16]]:
        """Sets of edges as bits.

        `(blocks * sets)`: those behind a block by those before it; `(blocks * edges)`: those before it by the one
        behind; `(blocks,)`: all that were seen behind it, or any where none were.
        """
        seen = self.contexts.entries != UNSEEN
        blocks, edges, _ = seen.shape
        bits = (1 << np.arange(edges)).astype(np.int16)
        behind = (seen * bits).sum(axis=2).astype(np.int16)
        forward = np.zeros((blocks, 1 << edges), dtype=np.int16)
        sets = np.arange(1 << edges)
        for edge in range(edges):
            forward |= np.where(sets & (1 << edge), behind[:, edge, None], 0).astype(np.int16)
        back = (seen * bits[:, None]).sum(axis=1).astype(np.int16)
        possible = np.bitwise_or.reduce(behind, axis=1)
        possible = np.where(possible == 0, (1 << edges) - 1, possible).astype(np.int16)
        return forward.reshape(-1), back.reshape(-1), possible

    def unseen(self, archs: Archs) -> NDArray[np.int64]:
        """How many blocks of genomes `(n, d)` stand between neighbours that no compiled network has, `(n,)`."""
        archs = checked(archs, self.choices)
        found = self.entries(archs)
        return np.asarray((found >= len(self.columns)).sum(axis=1), dtype=np.int64)

    @cached_property
    def _codes(self) -> list[tuple[Codes, tuple[int, ...], tuple[int, ...]]]:
        """Of each place its blocks, those that run kernels, as a flat table with its strides."""
        found = []
        for place in self.places.places:
            codes = self.contexts.standing(place.codes)
            found.append((codes.reshape(-1), strides([self.choices[gene] for gene in place.genes]), place.genes))
        return found

    @cached_property
    def padded(self) -> Floats:
        """`columns`, then of each block a guess, then zeros, `(entries + blocks + 1, q)`.

        A guess is the mean of the block's entries, of which nothing is known.
        """
        of = self.contexts.entries
        guesses = np.zeros((len(of), self.columns.shape[1]))
        whole = guess(self.columns)
        for code, own in enumerate(of):
            seen = own[own != UNSEEN]
            guesses[code] = guess(self.columns[seen]) if len(seen) else whole
        return np.concatenate([self.columns, guesses, np.zeros((1, self.columns.shape[1]))])

    def _missing_of(self, entries: Codes) -> list[tuple[str, ...]]:
        lacking = self._lacking[entries]
        found: list[tuple[str, ...]] = [()] * len(entries)
        for row in np.flatnonzero(lacking.any(axis=1)).tolist():
            keys = (self.missing[e] if e < len(self.missing) else (GUESSED,) for e in entries[row, lacking[row]])
            found[row] = tuple(sorted({key for some in keys for key in some}))
        return found

    @cached_property
    def _lacking(self) -> NDArray[np.bool_]:
        """Which rows of `padded` stand on kernels that are not known."""
        guesses = [True] * len(self.contexts.entries)
        return np.array([*map(bool, self.missing), *guesses, False], dtype=np.bool_)


def guess(columns: Floats) -> Floats:
    """What a block may add up to of which nothing is known, `(q,)`: the mean of others, `(n, q)`."""
    found = columns.mean(axis=0) if len(columns) else np.zeros(columns.shape[1])
    found[_UNKNOWN] += found[_KNOWN]
    found[_KNOWN] = 0.0
    return np.asarray(found)


def to_tensors(table: BlockTable) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """A table as arrays and JSON-ready facts."""
    of = table.contexts
    tensors = {
        "columns": table.columns,
        "entries": of.entries,
        "empty": of.empty.astype(np.uint8),
    }
    tensors |= {f"codes{i}": np.atleast_1d(place.codes) for i, place in enumerate(table.places.places)}
    sets = list(dict.fromkeys(table.missing))
    facts = {
        "level": of.level,
        "start": of.start,
        "end": of.end,
        "chained": table.places.chained,
        "places": [[place.name, list(place.genes)] for place in table.places.places],
        "blocks": list(table.places.blocks),
        "sets": [list(keys) for keys in sets],
        "missing": [sets.index(keys) for keys in table.missing],
    }
    return tensors, facts


def of_tensors(tensors: Mapping[str, Any], facts: Mapping[str, Any], choices: tuple[int, ...]) -> BlockTable:
    """Read what `to_tensors` made.

    Raises:
        ValueError: a number is outside of what it may be, or they contradict each other.
        LookupError: something is missing.
    """
    blocks = tuple(map(str, facts["blocks"]))
    places = []
    for i, (name, listed) in enumerate(facts["places"]):
        codes, genes = tensors[f"codes{i}"], tuple(listed)
        if not all(type(gene) is int and 0 <= gene < len(choices) for gene in genes):
            raise ValueError(f"place {name!r} has genes {genes}")
        codes = codes.reshape(tuple(choices[gene] for gene in genes))
        places.append(Place(str(name), genes, _ranged(f"codes{i}", codes, NONE, len(blocks))))
    entries, columns = tensors["entries"], tensors["columns"]
    if entries.ndim != 3 or len(entries) != len(blocks) or columns.ndim != 2 or columns.shape[1] <= _UNKNOWN:
        raise ValueError(f"entries have shape {entries.shape}, columns {columns.shape}, of {len(blocks)} blocks")
    edges = entries.shape[1]
    if entries.shape[2] != edges or edges > MOST_EDGES or tensors["empty"].shape != (len(blocks),):
        raise ValueError(f"entries have shape {entries.shape}, empty {tensors['empty'].shape}")
    if not (np.isfinite(columns).all() and (columns >= 0).all()):
        raise ValueError("a sum over kernels is not finite, or below 0")
    sets = [tuple(map(str, keys)) for keys in facts["sets"]]
    missing = tuple(sets[_index("missing", i, len(sets))] for i in facts["missing"])
    if len(missing) != len(columns):
        raise ValueError(f"{len(missing)} entries have missing kernels, {len(columns)} have sums")
    contexts = Contexts(
        _index("level", facts["level"], 99),
        _index("start", facts["start"], edges),
        _index("end", facts["end"], edges),
        _ranged("entries", entries, UNSEEN, len(columns)),
        (),
        tensors["empty"].astype(np.bool_),
    )
    return BlockTable(
        choices, Places(blocks, tuple(places), bool(facts["chained"])), contexts, columns.astype(np.float64), missing
    )


def _index(name: str, value: Any, end: int) -> int:
    if type(value) is not int or not 0 <= value < end:
        raise ValueError(f"{name} is {value!r}, outside of 0..{end - 1}")
    return value


def _ranged(name: str, values: NDArray[Any], low: int, end: int) -> NDArray[np.int32]:
    if values.dtype.kind != "i" or (values.size and not low <= values.min() <= values.max() < end):
        raise ValueError(f"{name} holds numbers outside of {low}..{end - 1}")
    return values.astype(np.int32)
