"""Tensors of ONNX, numpy and torch from one another, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Torch types by ONNX element type.
DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 4: torch.uint16, 5: torch.int16, 6: torch.int32, 7: torch.int64,
    9: torch.bool, 10: torch.float16, 11: torch.float64, 12: torch.uint32, 13: torch.uint64, 16: torch.bfloat16,
}  # fmt: skip


def element_type(code: int) -> torch.dtype:
    """The torch type of an ONNX element type.

    Raises:
        NotImplementedError: there is none; the message names the type.
    """
    if code not in DTYPES:
        raise NotImplementedError(f"the type {type_name(code)}")
    return DTYPES[code]


def type_name(code: int) -> str:
    """ONNX's name of an element type."""
    import onnx

    known = onnx.TensorProto.DataType
    return str(known.Name(code)) if code in known.values() else f"number {code}"


def from_array(array: Any) -> Tensor:
    """A tensor of its own memory; numpy has no bfloat16 of its own, so that is taken by its bits."""
    array = np.array(array)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_array(tensor: Tensor) -> Any:
    """A copy as numpy's array."""
    if tensor.dtype is torch.bfloat16:
        import onnx

        bits = tensor.contiguous().view(torch.int16).numpy().copy()
        return bits.view(onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.BFLOAT16))
    return tensor.numpy().copy()


def from_message(message: Any) -> Tensor:
    """A tensor from a file.

    Raises:
        NotImplementedError: torch has no such type.
    """
    import onnx

    element_type(message.data_type)
    return from_array(onnx.numpy_helper.to_array(message))
