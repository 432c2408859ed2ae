"""One feature function for training and for serving, and one schema for all kinds of kernels.

Convolutions and matrix products are described alike, as products of `m x k` and `k x n` matrices, so that what is
learned of one kind says something of another. The schema is stored with every model and checked when it is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from predictors.models.protocol import DeviceFacts
from profiler import work
from profiler.operators import Operator, Tensor

#: Name and version of the schema. 1: first (2026-11). 2: matrix sizes and the sort of work (2026-11). 3: work of
#: recurrent, quantised, interpolating and picking kernels (2026-11).
SCHEMA = "hwnas.kernel-features/3"

NAMES = (
    "log_macs", "log_elementwise", "log_activation_bytes", "log_weight_bytes", "log_roofline_ms", "log_intensity",
    "sort", "log_m", "log_n", "log_k", "log_groups", "in_channels", "out_channels", "height", "width", "window",
    "stride", "inputs", "activation", "log_largest_bytes", "aligned",
)  # fmt: skip

#: Features that stand for work: more of it cannot be cheaper.
MONOTONE = ("log_macs", "log_elementwise", "log_activation_bytes", "log_weight_bytes", "log_roofline_ms")

#: Features that are names rather than sizes.
CATEGORICAL = ("sort",)

#: Time of launching a kernel that does nothing, in ms: what the roofline leaves out.
LAUNCH_MS = 0.001

#: Activations that are fused into a kernel, by how dear they are; others count 2.
_ACTIVATION = {"": 0.0, "Relu": 1.0, "Clip": 1.0, "LeakyRelu": 1.0, "Sigmoid": 3.0, "Tanh": 3.0, "Gelu": 3.0}

_WINDOWED = ("Conv", "ConvTranspose", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger")


def roofline_ms(operator: Operator, device: DeviceFacts) -> float:
    """Speed of light: the longer of computing and moving.

    Source: Williams et al., "Roofline: an insightful visual performance model", CACM 52(4), 2009.
    """
    operations = 2.0 * work.macs(operator) + work.elementwise(operator)
    return LAUNCH_MS + 1e3 * max(operations / device.flops_per_s, work.bytes_moved(operator) / device.bytes_per_s)


def family(operator: Operator) -> str:
    """The kernel's kind, and apart from it those that slide a window over each channel by itself.

    Runtimes do these by other code than dense ones, at a fraction of the rate.
    """
    if operator.op_type in _WINDOWED and matrix_sizes(operator)[3] > 1 and matrix_sizes(operator)[1] == 1:
        return f"{operator.kind}/depthwise"
    return operator.kind


def way(operator: Operator) -> str:
    """How the runtime does it, as far as it says so: its implementation, precision and layout of memory.

    Products of the same sizes differ by a factor of several between the implementations of one library.
    """
    said = (operator.attribute(name) for name in ("primitive", "precision", "layout"))
    return "/".join(one for one in said if isinstance(one, str))


def features(operators: Sequence[Operator], device: DeviceFacts) -> NDArray[np.float64]:
    """Features of kernels, `(k, len(NAMES))`."""
    return np.array([_row(operator, device) for operator in operators], dtype=np.float64).reshape(-1, len(NAMES))


def work_columns(operators: Sequence[Operator]) -> NDArray[np.float64]:
    """Work in natural units, `(k, 4)`: operations, activation bytes, weight bytes, 1."""
    return np.array(
        [
            (
                2.0 * work.macs(op) + work.elementwise(op),
                max(work.bytes_moved(op) - work.weight_bytes_read(op), 0),  # the shape of a `Reshape` is a constant
                work.weight_bytes_read(op),
                1.0,
            )
            for op in operators
        ]
    ).reshape(-1, 4)


def smooth_columns(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """From `features`: sizes whose logs a smooth function of cost sees, `(k, 17)`."""
    at = {name: columns[:, index] for index, name in enumerate(NAMES)}
    logs = [np.log1p(at[name]) for name in ("in_channels", "out_channels", "height", "width", "window", "stride")]
    few = at["in_channels"] < 4
    kept = (
        "log_m", "log_n", "log_k", "log_groups", "inputs", "log_activation_bytes", "log_weight_bytes",
        "log_elementwise", "activation", "aligned",
    )  # fmt: skip
    return np.column_stack([*(at[name] for name in kept), *logs, few.astype(np.float64)])


def matrix_sizes(operator: Operator) -> tuple[int, int, int, int]:
    """A product as `groups` products of `m x k` and `k x n` matrices: `(m, n, k, groups)`; zeros for what is none."""
    macs = work.macs(operator)
    if macs == 0 or not operator.outputs:
        return 0, 0, 0, 0
    out = operator.outputs[0].shape
    if operator.op_type in _WINDOWED:
        groups = int(operator.attribute("group", 1))
        channels = (out[-1] if operator.attribute("channels_last", 0) else out[1]) if len(out) > 1 else 1
        n = max(channels // groups, 1)
        m = max(math.prod(out) // max(channels, 1), 1)
    else:
        n = out[-1] if out else 1
        weight = operator.inputs[1] if len(operator.inputs) > 1 else None
        shared = weight is not None and len(weight.shape) <= 2
        groups = 1 if shared else math.prod(out[:-2])
        m = max(math.prod(out) // max(n * groups, 1), 1)
    return m, n, max(macs // max(m * n * groups, 1), 1), groups


def _row(operator: Operator, device: DeviceFacts) -> list[float]:
    tensors = [tensor for tensor in operator.inputs if tensor is not None]
    first = tensors[0].shape if tensors else ()
    out = operator.outputs[0].shape if operator.outputs else ()
    weights = work.weight_bytes_read(operator)
    moved = work.bytes_moved(operator)
    m, n, k, groups = matrix_sizes(operator)
    window = operator.attribute("kernel_shape") or (1,)
    strides = operator.attribute("strides") or (1,)
    return [
        math.log1p(work.macs(operator)),
        math.log1p(work.elementwise(operator)),
        math.log1p(max(moved - weights, 0)),
        math.log1p(weights),
        math.log(roofline_ms(operator, device)),
        math.log1p(work.macs(operator)) - math.log1p(moved),
        float(_sort(operator, tensors)),
        math.log1p(m),
        math.log1p(n),
        math.log1p(k),
        math.log1p(groups),
        float(first[1]) if len(first) > 1 else 0.0,
        float(out[1]) if len(out) > 1 else 0.0,
        float(first[2]) if len(first) > 2 else 0.0,
        float(first[3]) if len(first) > 3 else 0.0,
        float(math.prod(window)),
        float(math.prod(strides)),
        float(len(tensors)),
        _ACTIVATION.get(str(operator.attribute("activation", "")), 2.0),
        math.log1p(max((tensor.bytes for tensor in (*tensors, *operator.outputs)), default=0)),
        float(len(first) > 1 and first[1] % 16 == 0),
    ]


def _sort(operator: Operator, tensors: Sequence[Tensor]) -> int:
    """What work is like, whatever its name: depthwise 4, product 3, window 2, arithmetic 1, moving 0."""
    if work.macs(operator):
        return 4 if matrix_sizes(operator)[3] > 1 and operator.op_type in _WINDOWED else 3
    if operator.attribute("kernel_shape"):
        return 2
    reads = sum(tensor.elements for tensor in tensors if not tensor.constant)
    writes = sum(tensor.elements for tensor in operator.outputs)
    return 0 if work.elementwise(operator) == 0 or (reads == writes and operator.op_type in _MOVES) else 1


#: Operators that copy without computing.
_MOVES = frozenset(
    {"Transpose", "Concat", "Split", "Slice", "Pad", "Gather", "Expand", "ReorderInput", "ReorderOutput"}
)
