"""Architectures as ONNX: what is measured, and what is exported at the end."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.spaces.protocol import Space
from profiler import subjects
from profiler.subjects import Subject

if TYPE_CHECKING:
    from torch import Tensor, nn


def onnx_bytes(space: Space, arch: NDArray[np.int64], *, module: nn.Module | None = None, batch: int = 1) -> bytes:
    """The network as serialised ONNX.

    Args:
        space: of the architecture.
        arch: `(d,)`.
        module: whose weights to use, as `Supernet.subnet` gives it; seeded random ones if None.
        batch: inputs in one inference.

    Raises:
        ConstantNetwork: its output does not depend on its input.
    """
    from profiler.capture import BlockCache, stitch

    assembly = space.assembly(arch).of_batch(batch)
    serialised: bytes = stitch(assembly, BlockCache.default(), module=module).SerializeToString()
    return serialised


def subject(space: Space, arch: NDArray[np.int64], *, batch: int = 1) -> Subject:
    """The network of one architecture, `(d,)`, as something to measure.

    Args:
        space: of the architecture.
        arch: `(d,)`.
        batch: inputs in one inference.

    Raises:
        ConstantNetwork: its output does not depend on its input.
    """
    text = space.format(arch)
    return subjects.from_bytes(onnx_bytes(space, arch, batch=batch), name=text, space=space.spec, arch=text)


def in_double(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """A copy of a module in double precision, which takes what the module takes: its outputs before rounding."""
    exact = copy.deepcopy(module).double()
    return lambda inputs: exact(inputs.double() if inputs.is_floating_point() else inputs)
