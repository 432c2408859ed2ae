"""Modules of hybrid networks, made only when torch is needed; images are `(1, width, side, side)`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from nas.spaces._parts import attention
from nas.spaces._parts.residual import residual

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Where `self_attention` has what `attention.by_heads` tells of.
CORE = "1.core.core."


def reduction(width: int, out: int, *, activate: bool) -> nn.Module:
    """A convolution that halves the side, and batch norm."""
    from torch import nn

    parts = [nn.Conv2d(width, out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(out)]
    return nn.Sequential(*parts, nn.Hardswish()) if activate else nn.Sequential(*parts)


def convolution(width: int, kernel: int, expansion: int) -> nn.Module:
    """An inverted residual with a depthwise convolution.

    Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018, section 3.3.
    """
    from torch import nn

    wide = width * expansion
    core = nn.Sequential(
        nn.Conv2d(width, wide, 1, bias=False),
        nn.BatchNorm2d(wide),
        nn.Hardswish(),
        nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide, bias=False),
        nn.BatchNorm2d(wide),
        nn.Hardswish(),
        nn.Conv2d(wide, width, 1, bias=False),
        nn.BatchNorm2d(width),
    )
    return residual(core)


def places(width: int) -> nn.Module:
    """A depthwise convolution of 3x3 whose result is added: it tells attention where a pixel is.

    Source: Chu et al., "Conditional positional encodings for vision transformers", ICLR 2023, section 3.2.
    """
    from torch import nn

    return residual(nn.Conv2d(width, width, 3, padding=1, groups=width))


def tokens(core: nn.Module) -> nn.Module:
    """A module of sequences, run on the pixels of an image."""
    block: nn.Module = _classes()["tokens"](core)
    return block


def self_attention(width: int, heads: int) -> nn.Module:
    """Places, then attention of all pixels to all, with norm before it and a residual."""
    from torch import nn

    return nn.Sequential(places(width), tokens(attention.attention(width, width, heads, before=True)))


def feed_forward(width: int, expansion: int) -> nn.Module:
    """Two linear layers over each pixel, with norm before them and a residual."""
    return tokens(attention.feed_forward(width, width * expansion, before=True, activation="GELU"))


def head(width: int, classes: int) -> nn.Module:
    """Global average, layer norm, linear."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(width), nn.Linear(width, classes))


@cache
def _classes() -> dict[str, Any]:
    from torch import nn

    class Tokens(nn.Module):
        def __init__(self, core: nn.Module) -> None:
            super().__init__()
            self.core = core

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.core(x.flatten(2).transpose(1, 2))
            return found.transpose(1, 2).reshape(x.shape)

    return {"tokens": Tokens}
