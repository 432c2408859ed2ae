"""What parts share: runs of a supernet that leave no trace, and gradients of what was not used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def undisturbed(supernet: Any) -> Iterator[None]:
    """Statistics of batch norms are afterwards what they were before."""
    import torch

    kept = [(buffer, buffer.clone()) for buffer in supernet.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)


def gradients(loss: Tensor, tensors: Sequence[Tensor], **options: Any) -> list[Tensor]:
    """Gradients of a scalar, each like its tensor; 0 for tensors that it does not depend on.

    Args:
        loss: a scalar.
        tensors: of any shapes.
        options: of `torch.autograd.grad`.
    """
    import torch

    if not loss.requires_grad:
        return [torch.zeros_like(tensor) for tensor in tensors]
    found = torch.autograd.grad(loss, tensors, allow_unused=True, **options)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)]
