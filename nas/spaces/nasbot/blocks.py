"""Modules of NASBOT-like networks, made only when torch is needed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def convolution(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Convolution without bias, batch norm."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(channels_out)
    )


def layer(kind: str, channels: int) -> nn.Module:
    """A layer by its label; `res3` and the like are two convolutions and a shortcut."""
    from torch import nn

    if kind == "max-pool":
        return nn.MaxPool2d(2)
    if kind == "avg-pool":
        return nn.AvgPool2d(2)
    kernel = int(kind[-1])
    if kind.startswith("res"):
        block: nn.Module = _classes()["residual"](channels, kernel)
        return block
    return nn.Sequential(*convolution(channels, channels, kernel), nn.ReLU())


def shrink(factor: int) -> nn.Module:
    """The mean of squares of pixels."""
    from torch import nn

    return nn.AvgPool2d(factor)


def add() -> nn.Module:
    """The sum of two inputs."""
    module: nn.Module = _classes()["add"]()
    return module


def flatten() -> nn.Module:
    """The mean over all pixels."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def linear(units_in: int, units_out: int) -> nn.Module:
    """A linear map."""
    from torch import nn

    return nn.Linear(units_in, units_out)


def hidden(units_in: int, units_out: int) -> nn.Module:
    """ReLU and a linear map."""
    from torch import nn

    return nn.Sequential(nn.ReLU(), nn.Linear(units_in, units_out))


@cache
def _classes() -> dict[str, Any]:
    import torch
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, channels: int, kernel: int) -> None:
            super().__init__()
            self.first = convolution(channels, channels, kernel)
            self.second = convolution(channels, channels, kernel)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x + self.second(torch.relu(self.first(x))))

    class Add(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return first + second

    return {"residual": Residual, "add": Add}
