"""Partial channel connections: a share of the channels passes through what is mixed, the others keep what was read.

Source: Xu et al., "PC-DARTS: partial channel connections for memory-efficient architecture search", ICLR 2020, section
    3.2, equation 3. There operators are as narrow as the share, which saves memory. Here weights are shared with
    networks of full width: operators see all channels, and a mask says which of their results count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from device_profiles.errors import UsageError
from nas.spaces.protocol import PassesBy

if TYPE_CHECKING:
    from torch import Tensor


def sampled(share: float, generator: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of what a place read and what it made of it, alike in shape: a random share of channels is new.

    Args:
        share: of the channels, in 0..1; at least one is taken. They are the second axis of four, else the last one.
        generator: torch's.
    """
    import torch

    def bypass(read: Tensor, made: Tensor) -> Tensor:
        axis = 1 if made.ndim == 4 else made.ndim - 1
        count = made.shape[axis]
        taken = torch.randperm(count, generator=generator)[: max(1, round(share * count))]
        mask = torch.zeros(count, dtype=torch.bool).index_fill(0, taken, True).to(made.device)
        shape = [count if place == axis else 1 for place in range(made.ndim)]
        return torch.where(mask.view(shape), made, read)

    return bypass


def pass_by(supernet: Any, share: float, generator: Any) -> None:
    """Let all but a share of the channels pass by what a supernet mixes, from now on.

    Raises:
        UsageError: the supernet has no places where they can.
    """
    if not isinstance(supernet, PassesBy):
        raise UsageError(
            f"channels cannot pass by what {type(supernet).__name__} mixes",
            hint="Use a strategy with channels=1, such as darts.",
        )
    supernet.pass_by(sampled(share, generator))
