"""What spaces with attention share: widths in percent, options as columns, and counts of parameters and work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.spaces.product import ProductSpace

Numbers = NDArray[np.float64]
#: The kit draws tokens from 0..7.
SMALLEST_VOCABULARY = 8


def scaled(widths: Sequence[int], percent: int, step: int) -> tuple[int, ...]:
    """A percentage of widths, each rounded to the nearest multiple of `step`.

    Raises:
        UsageError: two of them become one, or one becomes 0.
    """
    found = tuple(step * round(width * percent / (100 * step)) for width in widths)
    if len({0, *found}) <= len(found):
        raise UsageError(
            f"space option width={percent} turns the widths {tuple(widths)} into {found}, multiples of {step}",
            hint="Raise it, so that they stay apart.",
        )
    return found


def check_vocabulary(vocabulary: int) -> None:
    """Refuse one that is too small to draw tokens from.

    Raises:
        UsageError: it has fewer than 8 tokens.
    """
    if vocabulary < SMALLEST_VOCABULARY:
        raise UsageError(f"space option vocabulary must be at least {SMALLEST_VOCABULARY}, got {vocabulary}")


def numbers(space: ProductSpace, archs: Archs, name: str, layers: int) -> Numbers:
    """The options of the genes `name1` ... of all layers, `(n, layers)`; `name` itself, `(n, 1)`, if `layers` is 0."""
    names = [f"{name}{layer}" for layer in range(1, layers + 1)] or [name]
    columns = [np.array(space.genes[at].options, dtype=np.float64)[archs[:, at]] for at in map(space.place, names)]
    return np.stack(columns, axis=1)


def attention_counts(
    width: Numbers,
    inner: Numbers | int,
    *,
    length: int,
    memory: Numbers | None = None,
    read: Numbers | int | None = None,
    bias: Numbers | int = 1,
) -> Numbers:
    """Parameters and multiply-accumulates, `(2, ...)`, of attention; arrays broadcast.

    Args:
        width: of what asks, and of what comes out.
        inner: width of queries, keys and values over all heads.
        length: tokens that ask.
        memory: width of what is read; `width` if None.
        read: tokens that are read; `length` if None.
        bias: 1 where the four linear layers have biases, else 0.
    """
    memory = width if memory is None else memory
    read = length if read is None else read
    parameters = 2 * width * inner + 2 * memory * inner + bias * (3 * inner + width)
    macs = 2 * length * width * inner + 2 * read * memory * inner + 2 * length * read * inner
    return np.stack(np.broadcast_arrays(parameters, macs)).astype(np.float64)


def feed_counts(width: Numbers, hidden: Numbers, *, length: int, bias: Numbers | int = 1) -> Numbers:
    """Parameters and multiply-accumulates, `(2, ...)`, of two linear layers over each token; arrays broadcast."""
    parameters = 2 * width * hidden + bias * (width + hidden)
    return np.stack(np.broadcast_arrays(parameters, 2 * length * width * hidden)).astype(np.float64)
