"""What is added to its own input."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def residual(core: nn.Module) -> nn.Module:
    """`x + core(x)`; both have one shape."""
    module: nn.Module = _class()(core)
    return module


def is_residual(module: nn.Module) -> bool:
    """Whether `residual` made it."""
    return isinstance(module, _class())


@cache
def _class() -> Any:
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, core: nn.Module) -> None:
            super().__init__()
            self.core = core

        def forward(self, x: Tensor) -> Tensor:
            total: Tensor = x + self.core(x)
            return total

    return Residual
