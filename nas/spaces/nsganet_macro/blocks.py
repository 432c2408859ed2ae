"""Modules of NSGA-Net's macro networks, made only when torch is needed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from nas.spaces._parts.convolutions import convolution

if TYPE_CHECKING:
    from torch import Tensor, nn


def entry(channels_in: int, channels_out: int, kernel: int) -> nn.Module:
    """The convolution at the beginning of a phase."""
    return convolution(channels_in, channels_out, kernel, after_relu=kernel == 1)


def node(channels: int) -> nn.Module:
    """3x3 convolution without bias, batch norm, ReLU."""
    from torch import nn

    return nn.Sequential(convolution(channels, channels, 3), nn.BatchNorm2d(channels), nn.ReLU())


def merge(inputs: int, channels: int) -> nn.Module:
    """The channels of several inputs, brought to the width of one by a 1x1 convolution without bias."""
    module: nn.Module = _merge_class()(inputs, channels)
    return module


def out(channels: int) -> nn.Module:
    """Batch norm and ReLU, at the end of a phase."""
    from torch import nn

    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())


def pool() -> nn.Module:
    """Half the resolution, between phases."""
    from torch import nn

    return nn.MaxPool2d(2)


def head(channels: int, classes: int) -> nn.Module:
    """Global average, linear."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


@cache
def _merge_class() -> Any:
    import torch
    from torch import nn

    class Merge(nn.Module):
        def __init__(self, inputs: int, channels: int) -> None:
            super().__init__()
            self.conv = convolution(inputs * channels, channels, 1)

        def forward(self, *parts: Tensor) -> Tensor:
            merged: Tensor = self.conv(torch.cat(parts, dim=1))
            return merged

    return Merge
