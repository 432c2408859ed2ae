"""Modules of networks of motifs, made only when torch is needed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def primitive(kind: str, channels: int) -> nn.Module:
    """An operator that keeps shapes; convolutions are followed by batch norm and ReLU."""
    from torch import nn

    if kind == "max3":
        return nn.MaxPool2d(3, stride=1, padding=1)
    if kind == "avg3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    if kind == "separable3":
        return separable(channels, channels, 1)
    if kind == "depthwise3":
        convolution = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    else:
        convolution = nn.Conv2d(channels, channels, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())


def separable(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """A depthwise 3x3 convolution and one of 1x1, batch norm, ReLU."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, stride, padding=1, groups=channels_in, bias=False),
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def stem(image_channels: int, channels: int) -> nn.Module:
    """A 3x3 convolution, batch norm, ReLU."""
    from torch import nn

    convolution = nn.Conv2d(image_channels, channels, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())


def add() -> nn.Module:
    """The sum of two inputs."""
    module: nn.Module = _classes()["add"]()
    return module


def head(channels: int, classes: int) -> nn.Module:
    """The mean over all pixels and a linear map."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


@cache
def _classes() -> dict[str, Any]:
    from torch import nn

    class Add(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return first + second

    return {"add": Add}
