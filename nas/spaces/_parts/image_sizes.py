"""Sizes that spaces of images share: widths that are multiples of 8, and a resolution that is a choice."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from device_profiles.errors import UsageError
from profiler.assembly import INPUT, Block

if TYPE_CHECKING:
    from torch import nn

#: Widths are multiples of it.
STEP = 8


def divisible(width: float) -> int:
    """The nearest multiple of 8, but at least 8, and at least 90 % of the width: the rule of the MobileNets' code."""
    nearest = max(STEP, int(width + STEP / 2) // STEP * STEP)
    return nearest + STEP if nearest < 0.9 * width else nearest


def resolutions(largest: int, smallest: int, step: int) -> tuple[int, ...]:
    """The options of a gene for the resolution, ascending.

    Raises:
        UsageError: steps from the smallest do not lead to the largest.
    """
    if smallest > largest or (largest - smallest) % step:
        raise UsageError(
            f"space option smallest must be the resolution, {largest}, less a multiple of step, {step}; got {smallest}",
            hint=f"Say smallest={largest} for one resolution alone.",
        )
    return tuple(range(smallest, largest + 1, step))


def resized(side: int, largest: int) -> list[Block]:
    """The block that makes the input smaller, or none where it has that side."""
    return [Block("resize", f"image resize {side}", (INPUT,), partial(resize, side))] if side != largest else []


def resize(side: int) -> nn.Module:
    """Bilinear interpolation without smoothing, one `Resize` node in ONNX."""
    from torch import nn

    return nn.Upsample(size=(side, side), mode="bilinear")


def reduced(side: int, stride: int) -> int:
    """The side of an image behind a convolution of odd kernel with padding."""
    return -(-side // stride)
