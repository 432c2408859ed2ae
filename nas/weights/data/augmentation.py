"""Images that are changed while they train: flipped, moved, and with a square left out; whole batches, on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from device_profiles.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("flip", "crop", "cutout")
#: Each image is moved by up to an eighth of its side (4 of 32 pixels), and loses a square of half its side.
_MOVED, _HOLE = 8, 2


def parse(text: Any) -> tuple[str, ...]:
    """Names with commas, in the order in which they are done; "" is none.

    Raises:
        UsageError: it is no text.
        UnknownName: one is none.
    """
    if not isinstance(text, str):
        raise UsageError(f"setting augment must be text, got {text!r}")
    wanted = [word.strip() for word in text.split(",") if word.strip()]
    for word in wanted:
        if word not in NAMES:
            raise UnknownName("augmentation", word, NAMES)
    return tuple(name for name in NAMES if name in wanted)


def augment(images: Tensor, names: Sequence[str], rng: np.random.Generator) -> Tensor:
    """Change images `(n, channels, height, width)`, each by chance of its own.

    Sources: flips and crops of padded images as in He et al., "Deep residual learning", CVPR 2016, section 4.2; cutout,
        DeVries & Taylor, "Improved regularization of convolutional neural networks with cutout", 2017, section 3.

    Args:
        images: of a batch, normalised, so that 0 is the mean.
        names: of `NAMES`.
        rng: of this batch.
    """
    for name in names:
        images = {"flip": _flip, "crop": _crop, "cutout": _cutout}[name](images, rng)
    return images


def _flip(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Every second image, left to right."""
    import torch

    chosen = torch.from_numpy(rng.random(len(images)) < 0.5).to(images.device)
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def _crop(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Moved by whole pixels; what comes in is 0."""
    import torch

    count, channels, height, width = images.shape
    edges = [max(1, side // _MOVED) for side in (height, width)]
    padded = torch.nn.functional.pad(images, (edges[1], edges[1], edges[0], edges[0]))
    rows, columns = (
        torch.from_numpy(rng.integers(0, 2 * edge + 1, count)[:, None] + np.arange(side)).to(images.device)
        for edge, side in zip(edges, (height, width), strict=True)
    )
    item = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[item, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _cutout(images: Tensor, rng: np.random.Generator) -> Tensor:
    """A square around a random pixel is 0; it may reach beyond the edge."""
    import torch

    inside = []
    for side in images.shape[2:]:
        size = max(1, side // _HOLE)
        start = rng.integers(0, side, len(images))[:, None] - size // 2
        inside.append(torch.from_numpy((np.arange(side) >= start) & (np.arange(side) < start + size)))
    hole = (inside[0][:, None, :, None] & inside[1][:, None, None, :]).to(images.device)
    return images.masked_fill(hole, 0.0)
