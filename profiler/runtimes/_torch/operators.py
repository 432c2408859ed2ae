"""All operators that the runtime `torch` has: `BUILDERS` turns a node into a callable on its input tensors."""

from __future__ import annotations

from profiler.runtimes._torch import (
    elementwise,
    indexing,
    matrices,
    normalising,
    pooling,
    quantised,
    recurrent,
    reductions,
    resizing,
    sampling,
    shapes,
    spatial,
)
from profiler.runtimes._torch.node import Builder

_FAMILIES = (
    elementwise, indexing, matrices, normalising, pooling, quantised, recurrent, reductions, resizing, sampling, shapes,
    spatial,
)  # fmt: skip

#: What makes the callable of a node, by operator of ONNX's own set.
BUILDERS: dict[str, Builder] = {name: builder for family in _FAMILIES for name, builder in family.BUILDERS.items()}
