"""Modules of mobile image networks, made only when torch is needed, and counts of what they cost."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.spaces._parts.convolutions import convolution
from nas.spaces._parts.image_sizes import divisible, reduced
from nas.spaces._parts.residual import residual
from profiler.assembly import Cut

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
        narrow = self._narrow * self.squeeze
        norms = 2 * (self.hidden * (1 + self.expand) + self.width)
        squeeze = 2 * narrow * self.hidden
        parameters = first + depthwise + last + norms + squeeze + narrow + self.hidden * self.squeeze
        return np.array([parameters, outer * first + inner * (depthwise + last) + squeeze], dtype=np.float64)

    def build(self) -> nn.Module:
        """The module."""
        from torch import nn

        groups, activation = self.groups, self.activation
        parts: dict[str, nn.Module] = {}
        if self.expand:
            parts["expand"] = conv_norm(
                self.before, self.hidden, groups=groups, activation=activation, after_relu=False
            )
        if groups > 1:
            parts["shuffle"] = nn.ChannelShuffle(groups)
        parts["depthwise"] = conv_norm(
            self.hidden, self.hidden, self.kernel, stride=self.stride, groups=self.hidden, activation=activation
        )
        if self.squeeze:
            parts["squeeze"] = _classes()["squeeze"](self.hidden, self._narrow)
        parts["project"] = conv_norm(self.hidden, self.width, groups=groups, activation=None)
        core = nn.Sequential(OrderedDict(parts))
        return residual(core) if self._adds else core

    def cut_from(self, whole: Inverted) -> dict[str, tuple[str, tuple[Any, ...]]]:
        """Each parameter of the module, and how it is cut out of that of a wider one: its name there, and the index.

        The first channels between, and the middle of the kernel. Of groups, the parts of the dense matrices that
        connect the same channels, so that the channels between mean what they mean without groups.

        Source: channels and kernels, Cai et al., "Once-for-all: train one network and specialize it for efficient
            deployment", ICLR 2020, section 3.3 (there, kernels are transformed too, and channels sorted).

        Args:
            whole: with as many channels of input and output or more, the same stride, and no groups.
        """
        some, edge = slice(self.hidden), (whole.kernel - self.kernel) // 2
        middle = slice(edge, edge + self.kernel)
        dense: dict[str, tuple[Any, ...]] = {"expand": (some, slice(self.before)), "project": (slice(self.width), some)}
        first: Any = some
        if self.groups > 1:
            first = _before_shuffle(self.hidden, self.groups)
            dense["expand"] = (first[:, None], _of_groups(self.hidden, self.before, self.groups))
            dense["project"] = (np.arange(self.width)[:, None], _of_groups(self.width, self.hidden, self.groups))
        found = {
            "depthwise.0.weight": (some, slice(None), middle, middle),
            "depthwise.1.weight": (some,),
            "depthwise.1.bias": (some,),
            "project.0.weight": dense["project"],
            "project.1.weight": (slice(self.width),),
            "project.1.bias": (slice(self.width),),
        }
        if self.expand:
            found |= {"expand.0.weight": dense["expand"], "expand.1.weight": (first,), "expand.1.bias": (first,)}
        if self.squeeze:
            narrow = slice(self._narrow)
            found |= {
                "squeeze.weigh.1.weight": (narrow, some),
                "squeeze.weigh.1.bias": (narrow,),
                "squeeze.weigh.3.weight": (some, narrow),
                "squeeze.weigh.3.bias": (some,),
            }
        own, wide = ("core." if module._adds else "" for module in (self, whole))
        return {own + name: (wide + name, index) for name, index in found.items()}

    def shared(self, whole: Inverted, prefix: str) -> Cut:
        """What `cut_from` says, for a block with a key of this prefix."""
        return Cut(f"{prefix}{whole.key}", whole.build, partial(_indexed, self.cut_from(whole)))

    def straight(self, prefix: str) -> Cut:
        """A 1x1 convolution with batch norm in place of a module that adds nothing, for a key of this prefix.

        Its matrix is what is left of the module without activations, norms between, and all but the middle of the
        kernel: so it gives about what the module gives, and what is behind both need not tell them apart.
        """
        return Cut(f"{prefix}{self.key}", self.build, _straight)

    @property
    def _adds(self) -> bool:
        return self.stride == 1 and self.before == self.width

    @property
    def _narrow(self) -> int:
        return divisible(self.hidden // 4)


def _indexed(places: Mapping[str, tuple[str, tuple[Any, ...]]], wide: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: wide[source][index] for name, (source, index) in places.items()}


def _straight(wide: Mapping[str, Tensor]) -> dict[str, Tensor]:
    expand, depthwise, project = (wide[f"{name}.0.weight"] for name in ("expand", "depthwise", "project"))
    middle = depthwise[:, 0, depthwise.shape[2] // 2, depthwise.shape[3] // 2]
    matrix = (project[:, :, 0, 0] * middle) @ expand[:, :, 0, 0]
    return {
        "0.weight": matrix[:, :, None, None],
        "1.weight": wide["project.1.weight"],
        "1.bias": wide["project.1.bias"],
    }


def _before_shuffle(channels: int, groups: int) -> NDArray[np.int64]:
    """Where a shuffle takes each channel, `(channels,)`."""
    return np.arange(channels).reshape(channels // groups, groups).T.reshape(-1)


def _of_groups(outputs: int, inputs: int, groups: int) -> NDArray[np.int64]:
    """The inputs that each output of a convolution in groups reads, `(outputs, inputs / groups)`."""
    each = inputs // groups
    return (np.arange(outputs) // (outputs // groups) * each)[:, None] + np.arange(each)


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
