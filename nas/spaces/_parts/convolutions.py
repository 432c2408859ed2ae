"""Convolutions whose first weights keep the scale of what they read, however many follow one another.

With the framework's own first weights each convolution shrinks its input, and an untrained network of a hundred of them
gives the same for all images, to the last bit; batch norm hides it in training alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def convolution(
    channels_in: int,
    channels_out: int,
    kernel: int | tuple[int, int],
    *,
    stride: int | tuple[int, int] = 1,
    dilation: int = 1,
    groups: int = 1,
    after_relu: bool = True,
) -> nn.Conv2d:
    """A convolution without bias that keeps the resolution, but for its stride; kernels are odd.

    Source of the first weights: He, Zhang, Ren & Sun, "Delving deep into rectifiers", ICCV 2015, section 2.2.

    Args:
        channels_in: of what it reads.
        channels_out: of what it gives.
        kernel: pixels, of the square or of each side.
        stride: pixels, of both sides or of each.
        dilation: pixels between those that it reads, plus 1.
        groups: of channels; as many as channels make it depthwise.
        after_relu: whether what it reads comes from a ReLU, and has half its mean square.
    """
    from torch import nn

    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (dilation * (sides[0] // 2), dilation * (sides[1] // 2))
    module = nn.Conv2d(channels_in, channels_out, sides, stride, padding, dilation, groups, bias=False)
    nn.init.kaiming_normal_(module.weight, nonlinearity="relu" if after_relu else "linear")
    return module
