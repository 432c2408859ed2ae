"""Modules of NAS-Bench-201 networks, made only when torch is needed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from nas.spaces.nasbench201.algebra import CONV1, CONV3, POOL

if TYPE_CHECKING:
    from torch import Tensor, nn


def relu_conv_bn(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution without bias, batch norm."""
    from torch import nn

    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(channels_out))


def operator(code: int, channels: int) -> nn.Module:
    """The module of an edge: a convolution or a pool; other operators have none."""
    from torch import nn

    if code == POOL:
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return relu_conv_bn(channels, channels, {CONV1: 1, CONV3: 3}[code])


def stem(image_channels: int, channels: int) -> nn.Module:
    """A 3x3 convolution and batch norm."""
    from torch import nn

    return nn.Sequential(nn.Conv2d(image_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


def reduction(channels: int) -> nn.Module:
    """The residual block between stages: half the resolution, twice the channels."""
    block: nn.Module = _classes()["reduction"](channels)
    return block


def add() -> nn.Module:
    """A sum of two or three inputs."""
    block: nn.Module = _classes()["add"]()
    return block


def head(channels: int, classes: int) -> nn.Module:
    """Batch norm, ReLU, global average, linear."""
    block: nn.Module = _classes()["head"](channels, classes)
    return block


@cache
def _classes() -> dict[str, Any]:
    import torch
    from torch import nn

    class Reduction(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.first = relu_conv_bn(channels, 2 * channels, 3, stride=2)
            self.second = relu_conv_bn(2 * channels, 2 * channels, 3)
            self.shortcut = nn.Sequential(nn.AvgPool2d(2, stride=2), nn.Conv2d(channels, 2 * channels, 1, bias=False))

        def forward(self, x: Tensor) -> Tensor:
            shortcut: Tensor = self.shortcut(x)
            total: Tensor = shortcut + self.second(self.first(x))
            return total

    class Add(nn.Module):
        def forward(self, first: Tensor, second: Tensor, *others: Tensor) -> Tensor:
            total = first + second
            for other in others:
                total = total + other
            return total

    class Head(nn.Module):
        def __init__(self, channels: int, classes: int) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(channels)
            self.linear = nn.Linear(channels, classes)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.linear(torch.relu(self.norm(x)).mean(dim=(2, 3)))
            return logits

    return {"reduction": Reduction, "add": Add, "head": Head}
