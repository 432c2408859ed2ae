"""The two convolutions of an edge with weights in common, made only when torch is needed.

Source: Sukthanker, Krishnakumar, Safari & Hutter, "Weight-entanglement meets gradient-based neural architecture
    search", 2023, where a 1x1 kernel is the centre of the 3x3 kernel, and kernels are added up before they are run;
    MODNAS searches NAS-Bench-201 so (Sukthanker et al., "Multi-objective differentiable neural architecture search",
    2024). There the norm behind the sum undoes what is common to both gates; here what it gives is multiplied by their
    sum, so that convolutions are weighed against other operators, and a sampled path has a gradient.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from nas.spaces.nasbench201 import blocks
from nas.spaces.nasbench201.algebra import CONV1, CONV3

if TYPE_CHECKING:
    from torch import Tensor


def convolutions(channels: int) -> Any:
    """Both convolutions of an edge, `(batch, channels, side, side)` in and out."""
    return _class()(channels)


@cache
def _class() -> Any:
    from torch import nn
    from torch.nn import functional

    class Convolutions(nn.Module):
        """A 3x3 convolution, the 1x1 convolution that is its centre, and mixtures of them.

        What norms multiply with and add is common to all; statistics are those of each convolution, and of mixtures.
        """

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.whole: Any = blocks.operator(CONV3, channels)
            self.centre_norm = nn.BatchNorm2d(channels, affine=False)
            self.mixed_norm = nn.BatchNorm2d(channels, affine=False)

        def forward(self, x: Tensor, code: int) -> Tensor:
            """One of them alone."""
            if code == CONV3:
                found: Tensor = self.whole(x)
                return found
            return self._normed(functional.conv2d(self.whole[0](x), self._centre), self.centre_norm)

        def mixed(self, x: Tensor, centre: Tensor, whole: Tensor) -> Tensor:
            """Both by their gates, scalars whose sum is not 0: one convolution with the mean of both kernels.

            It is normed, and multiplied by the sum of both gates.
            """
            total = centre + whole
            kernel = functional.pad(self._centre * (centre / total), (1, 1, 1, 1)) + self._kernel * (whole / total)
            return self._normed(functional.conv2d(self.whole[0](x), kernel, padding=1), self.mixed_norm) * total

        def state_alone(self, code: int) -> dict[str, Tensor]:
            """The state of `blocks.operator(code, channels)`."""
            found: dict[str, Tensor] = self.whole.state_dict()
            if code == CONV1:
                found["1.weight"] = self._centre.detach()
                found |= {f"2.{name}": tensor for name, tensor in self.centre_norm.state_dict().items()}
            return found

        @property
        def _kernel(self) -> Tensor:
            kernel: Tensor = self.whole[1].weight
            return kernel

        @property
        def _centre(self) -> Tensor:
            return self._kernel[:, :, 1:2, 1:2]

        def _normed(self, x: Tensor, norm: nn.Module) -> Tensor:
            scale, shift = self.whole[2].weight, self.whole[2].bias
            found: Tensor = norm(x) * scale[:, None, None] + shift[:, None, None]
            return found

    return Convolutions
