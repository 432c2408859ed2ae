"""One feature function for training and for serving.

Its schema is stored with every model and checked when it is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from predictors.models.protocol import DeviceFacts
from profiler import work
from profiler.operators import Operator

#: Name and version of the schema. 1: first (2026-11).
SCHEMA = "hwnas.kernel-features/1"

NAMES = (
    "log_macs", "log_elementwise", "log_activation_bytes", "log_weight_bytes", "log_roofline_ms", "log_intensity",
    "in_channels", "out_channels", "height", "width", "kernel", "stride", "groups", "inputs", "fused_activation",
)  # fmt: skip

#: Features that stand for work: more of it cannot be faster.
MONOTONE = ("log_macs", "log_elementwise", "log_activation_bytes", "log_weight_bytes", "log_roofline_ms")

#: Time of launching a kernel that does nothing, in ms: what the roofline leaves out.
LAUNCH_MS = 0.001


def roofline_ms(operator: Operator, device: DeviceFacts) -> float:
    """Speed of light: the longer of computing and moving.

    Source: Williams et al., "Roofline: an insightful visual performance model", CACM 52(4), 2009.
    """
    operations = 2.0 * work.macs(operator) + work.elementwise(operator)
    return LAUNCH_MS + 1e3 * max(operations / device.flops_per_s, work.bytes_moved(operator) / device.bytes_per_s)


def features(operators: Sequence[Operator], device: DeviceFacts) -> NDArray[np.float64]:
    """Features of kernels, `(k, len(NAMES))`."""
    return np.array([_row(operator, device) for operator in operators], dtype=np.float64).reshape(-1, len(NAMES))


def work_columns(operators: Sequence[Operator]) -> NDArray[np.float64]:
    """Work in natural units, `(k, 4)`: operations, activation bytes, weight bytes, 1."""
    return np.array(
        [
            (
                2.0 * work.macs(op) + work.elementwise(op),
                work.bytes_moved(op) - work.weight_bytes(op),
                work.weight_bytes(op),
                1.0,
            )
            for op in operators
        ]
    ).reshape(-1, 4)


def _row(operator: Operator, device: DeviceFacts) -> list[float]:
    first = next((tensor.shape for tensor in operator.inputs if tensor is not None), ())
    out = operator.outputs[0].shape if operator.outputs else ()
    weights = work.weight_bytes(operator)
    moved = work.bytes_moved(operator)
    kernel = operator.attribute("kernel_shape") or (1,)
    strides = operator.attribute("strides") or (1,)
    return [
        math.log1p(work.macs(operator)),
        math.log1p(work.elementwise(operator)),
        math.log1p(moved - weights),
        math.log1p(weights),
        math.log(roofline_ms(operator, device)),
        math.log1p(work.macs(operator)) - math.log1p(moved),
        float(first[1]) if len(first) > 1 else 0.0,
        float(out[1]) if len(out) > 1 else 0.0,
        float(first[2]) if len(first) > 2 else 0.0,
        float(first[3]) if len(first) > 3 else 0.0,
        float(math.prod(kernel)),
        float(math.prod(strides)),
        float(operator.attribute("group", 1)),
        float(sum(tensor is not None for tensor in operator.inputs)),
        float(operator.attribute("activation") is not None),
    ]
