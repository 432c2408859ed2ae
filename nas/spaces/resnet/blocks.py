"""Modules of residual networks with bottlenecks, made only when torch is needed, and counts of what they cost."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.spaces._parts.convolutions import convolution
from nas.spaces._parts.image_sizes import reduced

if TYPE_CHECKING:
    from torch import Tensor, nn


class Bottleneck(NamedTuple):
    """1x1 convolution to `hidden` channels, 3x3 convolution, 1x1 convolution, added to the input; then ReLU.

    Source: He et al., "Deep residual learning for image recognition", CVPR 2016, figure 5; the stride is at the 3x3
        convolution, and where the shape changes the input is averaged and projected, as in ResNet-D of He et al., "Bag
        of tricks for image classification with convolutional neural networks", CVPR 2019, section 4.2.

    Attributes:
        before: channels of the input.
        width: channels of the output.
        hidden: channels between.
        stride: 1 or 2.
    """

    before: int
    width: int
    hidden: int
    stride: int = 1

    @property
    def key(self) -> str:
        """All of it in a few letters; equal ones are equal modules."""
        return f"bottleneck {self.before}-{self.hidden}-{self.width} s{self.stride}"

    @property
    def projects(self) -> bool:
        """Whether the shape changes."""
        return self.stride != 1 or self.before != self.width

    def counts(self, side: int) -> NDArray[np.float64]:
        """Parameters and multiply-accumulates, `(2,)`, for an input of `side` x `side` pixels."""
        first, last = self.before * self.hidden, 9 * self.hidden**2 + self.hidden * self.width
        shortcut = self.before * self.width * self.projects
        norms = 2 * (2 * self.hidden + self.width * (1 + self.projects))
        inner = reduced(side, self.stride) ** 2
        return np.array([first + last + shortcut + norms, side**2 * first + inner * (last + shortcut)], np.float64)

    def build(self) -> nn.Module:
        """The module."""
        from torch import nn

        core = nn.Sequential(
            *conv_relu(self.before, self.hidden, 1),
            *conv_relu(self.hidden, self.hidden, 3, stride=self.stride),
            convolution(self.hidden, self.width, 1),
            nn.BatchNorm2d(self.width),
        )
        shortcut: list[nn.Module] = []
        if self.stride != 1:
            shortcut.append(nn.AvgPool2d(self.stride, ceil_mode=True, count_include_pad=False))
        if self.projects:
            shortcut += [convolution(self.before, self.width, 1), nn.BatchNorm2d(self.width)]
        block: nn.Module = _residual_class()(core, nn.Sequential(*shortcut))
        return block


def conv_relu(before: int, width: int, kernel: int, *, stride: int = 1, after_relu: bool = True) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU."""
    from torch import nn

    conv = convolution(before, width, kernel, stride=stride, after_relu=after_relu)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())


def added_conv(width: int) -> nn.Module:
    """A 3x3 convolution with batch norm and ReLU whose result is added to its input."""
    from torch import nn

    block: nn.Module = _residual_class()(conv_relu(width, width, 3), nn.Sequential(), activate=False)
    return block


def entry(before: int, width: int) -> nn.Module:
    """The last convolution of the stem, and a maximum over 3x3 pixels that halves the side."""
    from torch import nn

    return nn.Sequential(conv_relu(before, width, 3), nn.MaxPool2d(3, stride=2, padding=1))


def head(width: int, classes: int) -> nn.Module:
    """Global average, linear."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


@cache
def _residual_class() -> Any:
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, core: nn.Module, shortcut: nn.Module, *, activate: bool = True) -> None:
            super().__init__()
            self.core = core
            self.shortcut = shortcut
            self.last = nn.ReLU() if activate else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            total: Tensor = self.last(self.shortcut(x) + self.core(x))
            return total

    return Residual
