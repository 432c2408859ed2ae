"""Genes are whole numbers, whatever type they come in, and so genomes have numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError


def whole(archs: Any, names: Sequence[str] = ()) -> NDArray[np.int64]:
    """Architectures, `(d,)` or `(n, d)`, as integers; floats that are whole numbers are taken as such.

    Args:
        archs: genes.
        names: of the genes, for messages.

    Raises:
        UsageError: a gene is no whole number.
    """
    found = np.asarray(archs)
    if found.dtype.kind in "iub":
        return found.astype(np.int64, copy=False)
    if found.dtype.kind != "f":
        raise UsageError(f"genes must be whole numbers, got {found.dtype}", hint="space.parse(text) reads texts.")
    broken = found != np.rint(found)
    broken |= ~np.isfinite(found)
    if broken.any():
        place = tuple(int(index) for index in np.argwhere(broken)[0])
        gene = names[place[-1]] if place and place[-1] < len(names) else str(place[-1] if place else 0)
        raise UsageError(
            f"gene {gene} is {found[place]:g}, which is no whole number", hint="A gene is the index of an option."
        )
    return found.astype(np.int64)


def numbered(numbers: Any, choices: Sequence[int]) -> NDArray[np.int64]:
    """Genomes by their numbers, `(n, d)`; the last gene counts fastest.

    Args:
        numbers: `(n,)`, each in 0..prod(choices) - 1.
        choices: options per gene.
    """
    return np.stack(np.unravel_index(numbers, tuple(choices)), axis=1).astype(np.int64)


def strides(options: Sequence[int]) -> tuple[int, ...]:
    """How far apart the options of each gene lie in a flat table with an axis for each."""
    return tuple(prod(options[i + 1 :]) for i in range(len(options)))


def flat_index(columns: NDArray[np.int64], genes: Sequence[int], apart: Sequence[int]) -> NDArray[np.int64]:
    """Where genomes are in a flat table with an axis for each of some genes, `(n,)`.

    Args:
        columns: `(d, n)`, the genomes by gene.
        genes: of the table; if there are none, all genomes are at 0.
        apart: their `strides`.
    """
    if not genes:
        return np.zeros(columns.shape[1], dtype=np.int64)
    index = columns[genes[0]] * apart[0]
    for gene, stride in zip(genes[1:], apart[1:], strict=True):
        index += columns[gene] * stride
    return np.asarray(index, dtype=np.int64)


def checked(archs: Any, choices: Sequence[int]) -> NDArray[np.int64]:
    """Genomes `(n, d)` as integers, if they are in the space.

    Args:
        archs: genomes.
        choices: options per gene, `(d,)`.

    Raises:
        UsageError: the shape is another, or a gene is no whole number, or outside of its options.
    """
    archs = np.asarray(archs)
    if archs.ndim != 2 or archs.shape[1] != len(choices) or archs.dtype.kind not in "iuf":
        raise UsageError(
            f"architectures must be an integer matrix (n, {len(choices)}), got shape {archs.shape} of {archs.dtype}"
        )
    found = whole(archs)
    if len(found) and (int(found.min()) < 0 or bool((found.max(axis=0) >= np.array(choices)).any())):
        raise UsageError(
            f"a gene is outside of the space: options per gene are {tuple(choices)}, and genes count from 0"
        )
    return found
