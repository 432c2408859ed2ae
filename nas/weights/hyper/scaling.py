"""From what a hypernetwork gives, of size one, to weights: repeated to a shape, and scaled for an operator."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from nas.weights.hyper.graphs import Slot
from nas.weights.hyper.tracing import SCALE, SHIFT, TABLE


def scaled(slot: Slot, raw: Tensor) -> Tensor:
    """Weights of a slot, from numbers in its shape whose mean square is about 1.

    What is multiplied with `n` inputs is divided by the square root of `n / gain`, so that what comes out is as large
    as what goes in; scales are in 0..2, shifts in -1..1; tables stay as they are.

    Source: Knyazev et al., "Parameter prediction for unseen deep architectures", NeurIPS 2021, section 4.3 (operation-
        dependent normalisation), and the functions of their code. There the gain is 2 for what a rectifier follows;
        here for what reads rectified values, as in He et al., ICCV 2015, section 2.2.
    """
    if slot.role == SCALE:
        return 2.0 * torch.sigmoid(0.5 * raw)
    if slot.role == SHIFT:
        return torch.tanh(0.2 * raw)
    if slot.role == TABLE:
        return raw
    return raw * math.sqrt(slot.gain / math.prod(slot.shape[1:]))


def repeated(tile: Tensor, sides: tuple[int, int, int, int], corner: int) -> Tensor:
    """A kernel of these sides, from a tile `(out, in, height, width)` that is repeated where it is smaller.

    Copies beyond the first `corner` channels have signs of their own, fixed once and for all. Copies as they are, as in
    GHN-2, would be the same filters again: where values that are equal meet weights that are, their square grows by the
    number of copies at each layer.
    """
    for axis, (have, want) in enumerate(zip(tile.shape, sides, strict=True)):
        if have < want:
            tile = tile.index_select(axis, torch.arange(want, device=tile.device).remainder(have))
    out, read = sides[:2]
    if max(out, read) <= corner:
        return tile
    return tile * signs(out, read, corner).to(tile)[:, :, None, None]


@lru_cache(maxsize=256)
def signs(out: int, read: int, corner: int) -> Tensor:
    """`(out, read)` of 1 and -1, as by chance, and 1 in the first `corner` rows and columns; equal on all machines."""
    rows, columns = np.arange(out, dtype=np.uint64)[:, None], np.arange(read, dtype=np.uint64)[None, :]
    mixed = rows * np.uint64(0x9E3779B97F4A7C15) + columns * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(1)
    for shift in (31, 27, 33):  # the finaliser of splitmix64, Steele, Lea & Flood, OOPSLA 2014
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(0xBF58476D1CE4E5B9)
    found = 1.0 - 2.0 * (mixed >> np.uint64(63)).astype(np.float32)
    found[:corner, :corner] = 1.0
    return torch.from_numpy(found)
