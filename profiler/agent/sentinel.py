"""Sentinels: small fixed workloads whose time shows the state of the machine.

A sentinel must do the same kind of work as what it guards: when a virtual machine slows down, an interpreter loop was
seen 1.7x slower, a matrix product 1.2x, and networks 1.15-1.27x. So `gemm` guards; `alu` and `memory` are kept for
diagnosis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

#: The sentinel that brackets every block.
GUARD = "gemm"

#: The reference sentinel of a device is this quantile of what it showed: a state that it is often in, no lucky reading.
REFERENCE_QUANTILE = 0.1

GEMM_PRODUCTS = 40
GEMM_SIZE = 64
MEMORY_BYTES = 8 << 20


def sentinels() -> Mapping[str, Callable[[], None]]:
    """The workloads by name.

    `gemm` (40 products of 64x64, fp32), `alu` (an interpreter loop), `memory` (a copy of 8 MiB).
    """
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((GEMM_SIZE, GEMM_SIZE)).astype(np.float32) for _ in range(2))
    product = np.empty((GEMM_SIZE, GEMM_SIZE), dtype=np.float32)
    source = np.zeros(MEMORY_BYTES // 8, dtype=np.int64)
    target = np.empty_like(source)

    def gemm() -> None:
        for _ in range(GEMM_PRODUCTS):
            np.matmul(left, right, out=product)

    def alu() -> None:
        value = 0
        for i in range(2000):
            value ^= i * 7

    def memory() -> None:
        np.copyto(target, source)

    return {"gemm": gemm, "alu": alu, "memory": memory}
