"""What a block does to inputs of some shapes, without running it: torch's own operators on tensors without content.

Exporting a block takes a second, tracing it milliseconds. Two shapes whose traces are the same operators with the same
arguments are one graph: the export for one of them serves the other, with its shapes inferred anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from profiler.assembly import INPUT, Assembly, Block
from profiler.pieces import Shape

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Trace:
    """What ran.

    Attributes:
        operators: names and all arguments that are no tensors, in order; of tensors the rank and the channels, their
            second dimension.
        output: shape of what the block gives.
        weighted: whether the block has weights.
    """

    operators: tuple[str, ...]
    output: Shape
    weighted: bool


class Gives(NamedTuple):
    """What a block gives for inputs of some shapes.

    Attributes:
        shape: of the value.
        weighted: the block has weights, or nobody knows, so that no other one is sure to give the same.
    """

    shape: Shape
    weighted: bool


@dataclass
class Shapes:
    """Shapes of what blocks read; each distinct block is traced once for each of its inputs.

    Attributes:
        export: tells what a block gives that cannot be traced, such as an export does.
        outputs: what is known.
    """

    export: Callable[[Block, Sequence[Shape], Sequence[str]], Shape]
    outputs: dict[tuple[str, tuple[Shape, ...]], Gives] = field(default_factory=dict)

    def inputs(self, assembly: Assembly) -> tuple[tuple[Shape, ...], ...]:
        """Of each block of a network.

        Raises:
            InvalidModel: a block cannot be traced, nor exported.
        """
        found: dict[str, Shape] = {INPUT: assembly.input_shape}
        read: list[tuple[Shape, ...]] = []
        for block in assembly.blocks:
            shapes = tuple([found[name] for name in block.inputs])
            found[block.name] = self.output(block, shapes, assembly.input_dtype).shape
            read.append(shapes)
        return tuple(read)

    def output(self, block: Block, shapes: tuple[Shape, ...], input_dtype: str) -> Gives:
        """What a block gives that reads values of these shapes, in a network whose input has this dtype.

        Raises:
            InvalidModel: the block cannot be traced, nor exported.
        """
        known = self.outputs.get((block.key, shapes))
        if known is None:
            dtypes = [input_dtype if name == INPUT else "float32" for name in block.inputs]
            ran = trace(block, shapes, dtypes)
            known = Gives(self.export(block, shapes, dtypes), True) if ran is None else Gives(ran.output, ran.weighted)
            self.outputs[block.key, shapes] = known
        return known


def trace(block: Block, shapes: Sequence[Shape], dtypes: Sequence[str]) -> Trace | None:
    """Trace a block in eval mode.

    Args:
        block: what to run.
        shapes: of its inputs.
        dtypes: of its inputs.

    Returns:
        None if it cannot run without content: it reads values, or an operator has no such form.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[str] = []

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(f"{func}({_said(args)}, {_said(kwargs or {})})")
            return func(*args, **(kwargs or {}))

    try:
        if block.key not in _EMPTY:
            if len(_EMPTY) >= _MOST_EMPTY:
                _EMPTY.clear()
            with torch.device("meta"):
                _EMPTY[block.key] = block.build().eval()
        module = _EMPTY[block.key]
        given = [
            torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
            for shape, dtype in zip(shapes, dtypes, strict=True)
        ]
        with torch.no_grad(), Watch():  # type: ignore[no-untyped-call]
            output = module(*given)
    except Exception:  # of anybody's module, which may need content; then it is exported for each of its shapes
        return None
    if not isinstance(output, torch.Tensor):
        return None
    return Trace(tuple(seen), tuple(output.shape), weighted=bool(module.state_dict()))


#: Modules without content by their blocks' keys, and the most that are kept.
_EMPTY: dict[str, nn.Module] = {}
_MOST_EMPTY = 4096


def _said(value: Any) -> str:
    import torch

    if isinstance(value, torch.Tensor):
        return f"<{value.dtype} {value.dim()} {value.shape[1] if value.dim() > 1 else list(value.shape)}>"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_said(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_said, value)) + "]"
    return repr(value)
