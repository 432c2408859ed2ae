"""Sentinels: small fixed workloads whose time shows the state of the machine.

A sentinel must do the same kind of work as what it guards: when a virtual machine slows down, an interpreter loop was
seen 1.7x slower, a matrix product 1.2x, and networks 1.15-1.27x. So `gemm` guards; `alu` and `memory` are kept for
diagnosis.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from profiler.runtimes.protocol import Sentinel

#: The sentinel that brackets every block.
GUARD = "gemm"

#: The reference sentinel of a device is this quantile of what it showed: a state that it is often in, no lucky reading.
REFERENCE_QUANTILE = 0.1

#: Not a power of two: rows of such matrices fall on each other in the caches.
GEMM_SIZE = 96
GEMM_PRODUCTS = 12
MEMORY_BYTES = 8 << 20
PAGE_BYTES = 4096
CACHE_LINE_BYTES = 64


def sentinels() -> Mapping[str, Sentinel]:
    """The workloads by name.

    `gemm` (12 products of 96x96, fp32), `alu` (an interpreter loop), `memory` (a copy of 8 MiB).
    """
    rng = np.random.default_rng(0)
    left, right, product = _matrices(3)
    left[:], right[:] = rng.standard_normal((2, GEMM_SIZE, GEMM_SIZE))
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

    return {
        "gemm": Sentinel(gemm, operations=2.0 * GEMM_PRODUCTS * GEMM_SIZE**3),
        "alu": Sentinel(alu),
        "memory": Sentinel(memory, bytes=2.0 * MEMORY_BYTES),
    }


def _matrices(count: int) -> list[np.ndarray]:
    """Matrices at the same place of a page in every process.

    Where numpy happened to put them, the same products of 64x64 took 124 us in some processes and 137 us in others.
    """
    size = GEMM_SIZE * GEMM_SIZE * 4
    step = (
        -(-size // PAGE_BYTES) * PAGE_BYTES + CACHE_LINE_BYTES
    )  # not all at the same offset: caches are indexed by it
    memory = np.zeros(count * step + PAGE_BYTES, dtype=np.uint8)
    first = -memory.ctypes.data % PAGE_BYTES
    return [
        memory[start : start + size].view(np.float32).reshape(GEMM_SIZE, GEMM_SIZE)
        for start in range(first, first + count * step, step)
    ]
