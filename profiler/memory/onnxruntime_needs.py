"""What one kernel of ONNX Runtime needs of memory, worked out once for each distinct kernel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from profiler.memory.onnxruntime_rules import (
    ALIASES,
    IN_PLACE,
    SMALL_CONSTANT_BYTES,
    in_regions,
    packed_bytes,
    workspace_bytes,
)
from profiler.operators import Operator

CONV = "com.microsoft.nchwc:Conv"
REORDER_INPUT = "com.microsoft.nchwc:ReorderInput"
REORDER_OUTPUT = "com.microsoft.nchwc:ReorderOutput"


@dataclass(frozen=True)
class Needs:
    """Of one operator; positions are those of its inputs.

    Attributes:
        reads: positions of values, those of constants not.
        workspace: buffers while it runs, in bytes; None if that is not known.
        alias: whether its first output is its first input under another name.
        in_place: positions of inputs that its first output may be written into.
        packed: position and bytes of constants that it keeps packed copies of.
        transposed: of which matrix the copies are, that of the constant or its transpose.
        regions: whether the copies lie in the arena's regions.
        unpacked: positions of constants that it reads as they are.
        small: positions and bytes of constants that are copied into the arena.
    """

    reads: tuple[int, ...]
    workspace: tuple[int, ...] | None
    alias: bool
    in_place: tuple[int, ...]
    packed: tuple[tuple[int, int], ...]
    transposed: int
    regions: bool
    unpacked: tuple[int, ...]
    small: tuple[tuple[int, int], ...]


@lru_cache(maxsize=1 << 16)
def needs(operator: Operator) -> Needs:
    """What an operator needs."""
    packed = packed_bytes(operator)
    known = [(i, tensor) for i, tensor in enumerate(operator.inputs) if tensor is not None]
    constants = [(i, tensor.bytes) for i, tensor in known if tensor.constant]
    return Needs(
        reads=tuple(i for i, tensor in known if not tensor.constant),
        workspace=workspace_bytes(operator),
        alias=operator.kind in ALIASES,
        in_place=IN_PLACE.get(operator.kind, ()),
        packed=tuple(packed.items()),
        transposed=int(operator.attribute("transB", 0)),
        regions=in_regions(operator),
        unpacked=tuple(i for i, _ in constants if i not in packed),
        small=tuple((i, size) for i, size in constants if size <= SMALL_CONSTANT_BYTES),
    )
