"""What a block does to inputs of some shapes, without running it: torch's own operators on tensors without content.

Exporting a block takes a second, tracing it milliseconds. Two shapes whose traces are the same operators with the same
arguments are one graph: the export for one of them serves the other, with its shapes inferred anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Trace:
    """What ran.

    Attributes:
        operators: names and all arguments that are no tensors, in order; of tensors the rank and the channels, their
            second dimension.
        output: shape of what the block gives.
    """

    operators: tuple[str, ...]
    output: Shape


def trace(build: Callable[[], nn.Module], shapes: Sequence[Shape], dtypes: Sequence[str]) -> Trace | None:
    """Trace a block in eval mode.

    Args:
        build: makes its module.
        shapes: of its inputs.
        dtypes: of its inputs.

    Returns:
        None if it cannot run without content: it reads values, or an operator has no such form.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(f"{func}({_said(args)}, {_said(kwargs or {})})")
            return func(*args, **(kwargs or {}))

    try:
        with torch.device("meta"):
            module = build().eval()
        given = [
            torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
            for shape, dtype in zip(shapes, dtypes, strict=True)
        ]
        with torch.no_grad(), Watch():
            output = module(*given)
    except Exception:  # of anybody's module, which may need content; then it is exported for each of its shapes
        return None
    return Trace(tuple(seen), tuple(output.shape)) if isinstance(output, torch.Tensor) else None


def _said(value: Any) -> str:
    import torch

    if isinstance(value, torch.Tensor):
        return f"<{value.dtype} {value.dim()} {value.shape[1] if value.dim() > 1 else list(value.shape)}>"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_said(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_said, value)) + "]"
    return repr(value)
