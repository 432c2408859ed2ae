"""Modules of networks of NASNet-like cells, made only when torch is needed.

Source: Liu, Simonyan & Yang, "DARTS: differentiable architecture search", ICLR 2019, section 3.1.1; Zoph, Vasudevan,
    Shlens & Le, "Learning transferable architectures for scalable image recognition", CVPR 2018, section 3.2.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from nas.spaces._parts.convolutions import convolution

if TYPE_CHECKING:
    from torch import Tensor, nn


def relu_conv_bn(channels_in: int, channels_out: int) -> nn.Module:
    """ReLU, 1x1 convolution without bias, batch norm."""
    from torch import nn

    return nn.Sequential(nn.ReLU(), convolution(channels_in, channels_out, 1), nn.BatchNorm2d(channels_out))


def halve(channels_in: int, channels_out: int) -> nn.Module:
    """Half the resolution, which must be even: two 1x1 convolutions with stride, of even and of odd pixels."""
    module: nn.Module = _classes()["halve"](channels_in, channels_out)
    return module


def operator(name: str, channels: int, stride: int) -> nn.Module:
    """The module of an edge. Skips have one only where they halve the resolution."""
    from torch import nn

    kind, kernel = name[:3], int(name[-1]) if name[-1].isdigit() else 0
    if kind == "max":
        return nn.MaxPool2d(kernel, stride, padding=kernel // 2)
    if kind == "avg":
        return nn.AvgPool2d(kernel, stride, padding=kernel // 2, count_include_pad=False)
    if kind == "sep":
        first = _separable(channels, kernel, stride, dilation=1)
        return nn.Sequential(*first, *_separable(channels, kernel, 1, dilation=1))
    if kind == "dil":
        return nn.Sequential(*_separable(channels, kernel, stride, dilation=2))
    if kind == "rec":
        row = convolution(channels, channels, (1, kernel), stride=(1, stride))
        column = convolution(channels, channels, (kernel, 1), stride=(stride, 1), after_relu=False)
        return nn.Sequential(nn.ReLU(), row, column, nn.BatchNorm2d(channels))
    return halve(channels, channels)


def add() -> nn.Module:
    """The sum of two inputs."""
    module: nn.Module = _classes()["add"]()
    return module


def concatenate() -> nn.Module:
    """The channels of all inputs."""
    module: nn.Module = _classes()["concatenate"]()
    return module


def stem(image_channels: int, channels: int) -> nn.Module:
    """A 3x3 convolution and batch norm."""
    from torch import nn

    return nn.Sequential(convolution(image_channels, channels, 3, after_relu=False), nn.BatchNorm2d(channels))


def head(channels: int, classes: int) -> nn.Module:
    """Global average, linear."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def _separable(channels: int, kernel: int, stride: int, dilation: int) -> tuple[nn.Module, ...]:
    from torch import nn

    return (
        nn.ReLU(),
        convolution(channels, channels, kernel, stride=stride, dilation=dilation, groups=channels),
        convolution(channels, channels, 1, after_relu=False),
        nn.BatchNorm2d(channels),
    )


@cache
def _classes() -> dict[str, Any]:
    import torch
    from torch import nn

    class Halve(nn.Module):
        def __init__(self, channels_in: int, channels_out: int) -> None:
            super().__init__()
            even = channels_out // 2
            self.even = convolution(channels_in, even, 1, stride=2) if even else None
            self.odd = convolution(channels_in, channels_out - even, 1, stride=2)
            self.norm = nn.BatchNorm2d(channels_out)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(x)
            odd: Tensor = self.odd(x[:, :, 1:, 1:])
            whole = odd if self.even is None else torch.cat([self.even(x), odd], dim=1)
            normed: Tensor = self.norm(whole)
            return normed

    class Add(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return first + second

    class Concatenate(nn.Module):
        def forward(self, *parts: Tensor) -> Tensor:
            return torch.cat(parts, dim=1)

    return {"halve": Halve, "add": Add, "concatenate": Concatenate}
