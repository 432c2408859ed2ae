"""Modules of mobile image networks, made only when torch is needed, and counts of what they cost."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.spaces._parts.convolutions import convolution
from nas.spaces._parts.image_sizes import divisible, reduced
from nas.spaces._parts.residual import residual

if TYPE_CHECKING:
    from torch import Tensor, nn


class Inverted(NamedTuple):
    """An inverted residual: 1x1 convolution to `hidden` channels, depthwise convolution, 1x1 convolution.

    Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018, section 3.3; squeeze
        and excitation as in Howard et al., "Searching for MobileNetV3", ICCV 2019, section 5.3; groups with a channel
        shuffle as in Wu et al., "FBNet", CVPR 2019, section 3.1.

    Attributes:
        before: channels of the input.
        width: channels of the output.
        hidden: channels between.
        kernel: of the depthwise convolution, odd.
        stride: of it. With 1 and equal widths the input is added to the output.
        groups: of the 1x1 convolutions; channels are shuffled before the depthwise one.
        expand: whether the first 1x1 convolution is there; without it `hidden` is `before`.
        activation: a class of `torch.nn`.
        squeeze: whether channels are weighted behind the depthwise convolution.
    """

    before: int
    width: int
    hidden: int
    kernel: int
    stride: int = 1
    groups: int = 1
    expand: bool = True
    activation: str = "ReLU"
    squeeze: bool = False

    @property
    def key(self) -> str:
        """All of it in a few letters; equal ones are equal modules."""
        marks = f"{'' if self.expand else ' first'}{f' g{self.groups}' if self.groups > 1 else ''}"
        squeeze = " se" if self.squeeze else ""
        widths = f"{self.before}-{self.hidden}-{self.width}"
        return f"inverted {widths} k{self.kernel} s{self.stride}{marks}{squeeze} {self.activation}"

    def counts(self, side: int) -> NDArray[np.float64]:
        """Parameters and multiply-accumulates, `(2,)`, for an input of `side` x `side` pixels."""
        outer, inner = side**2, reduced(side, self.stride) ** 2
        first = self.before * self.hidden // self.groups * self.expand
        depthwise, last = self.kernel**2 * self.hidden, self.hidden * self.width // self.groups
        narrow = divisible(self.hidden // 4) * self.squeeze
        norms = 2 * (self.hidden * (1 + self.expand) + self.width)
        squeeze = 2 * narrow * self.hidden
        parameters = first + depthwise + last + norms + squeeze + narrow + self.hidden * self.squeeze
        return np.array([parameters, outer * first + inner * (depthwise + last) + squeeze], dtype=np.float64)

    def build(self) -> nn.Module:
        """The module."""
        from torch import nn

        groups, activation = self.groups, self.activation
        parts: list[nn.Module] = []
        if self.expand:
            parts.append(conv_norm(self.before, self.hidden, groups=groups, activation=activation, after_relu=False))
        if groups > 1:
            parts.append(nn.ChannelShuffle(groups))
        parts.append(
            conv_norm(
                self.hidden, self.hidden, self.kernel, stride=self.stride, groups=self.hidden, activation=activation
            )
        )
        if self.squeeze:
            parts.append(_classes()["squeeze"](self.hidden, divisible(self.hidden // 4)))
        parts.append(conv_norm(self.hidden, self.width, groups=groups, activation=None))
        core = nn.Sequential(*parts)
        return residual(core) if self.stride == 1 and self.before == self.width else core


def conv_norm(
    before: int,
    width: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: str | None,
    after_relu: bool = True,
) -> nn.Sequential:
    """Convolution without bias, batch norm, and an activation of `torch.nn` if any."""
    from torch import nn

    conv = convolution(before, width, kernel, stride=stride, groups=groups, after_relu=after_relu)
    parts = [conv, nn.BatchNorm2d(width)]
    return nn.Sequential(*parts, getattr(nn, activation)()) if activation else nn.Sequential(*parts)


def conv_counts(before: int, width: int, kernel: int, side: int) -> NDArray[np.float64]:
    """Parameters and multiply-accumulates, `(2,)`, of a convolution with batch norm; `side` is that of its output."""
    weights = kernel**2 * before * width
    return np.array([weights + 2 * width, weights * side**2], dtype=np.float64)


def head(before: int, wide: int, classes: int, activation: str) -> nn.Module:
    """1x1 convolution to `wide` channels, global average, linear."""
    from torch import nn

    return nn.Sequential(
        conv_norm(before, wide, activation=activation, after_relu=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(wide, classes),
    )


def mixing_head(before: int, wide: int, wider: int, classes: int) -> nn.Module:
    """MobileNetV3's: 1x1 convolution, global average, 1x1 convolution without norm, linear.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, section 5.1.
    """
    from torch import nn

    return nn.Sequential(
        conv_norm(before, wide, activation="Hardswish", after_relu=False),
        nn.AdaptiveAvgPool2d(1),
        convolution(wide, wider, 1),
        nn.Hardswish(),
        nn.Flatten(),
        nn.Linear(wider, classes),
    )


@cache
def _classes() -> dict[str, Any]:
    from torch import nn

    class Squeeze(nn.Module):
        def __init__(self, channels: int, narrow: int) -> None:
            super().__init__()
            self.weigh = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(channels, narrow, 1),
                nn.ReLU(),
                nn.Conv2d(narrow, channels, 1),
                nn.Hardsigmoid(),
            )

        def forward(self, x: Tensor) -> Tensor:
            weighed: Tensor = x * self.weigh(x)
            return weighed

    return {"squeeze": Squeeze}
