"""The fused kernels of many networks of one space, as counts: compiled once for each distinct network, kept on disk.

A predictor that answers a million architectures a second needs the kernels of all of them beforehand. They come from the target's own
runtime, network by network; nothing about fusion is guessed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.cache import cache_folder
from device_profiles.profile import Target, from_plain, to_plain
from profiler import runtimes
from profiler.assembly import Assembly
from profiler.operators import Operator, operator_from_plain, operator_to_plain

_VERSION = 1
_CHUNK = 64


@dataclass(frozen=True)
class Catalogue:
    """Kernels of networks.

    Attributes:
        kernels: distinct kernels.
        counts: `(n, k)`, how often each network runs each kernel; a network without any is deleted by its runtime.
    """

    kernels: tuple[Operator, ...]
    counts: NDArray[np.int32]


def compile_all(
    assemblies: Sequence[Assembly],
    target: Target,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Catalogue:
    """Kernels of every network, in order.

    Args:
        assemblies: the networks, without weights.
        target: whose runtime compiles them.
        cache: folder for results; the toolkit's own if None.
        workers: processes; one for each CPU if None.
        progress: told how many are done, and of how many.
    """
    folder = (cache or cache_folder()) / "catalogues"
    name = hashlib.sha256(
        "\n".join(
            [
                str(_VERSION),
                runtimes.load(target.runtime.name).version,
                target.runtime.model_dump_json(),
                *(a.key for a in assemblies),
            ]
        ).encode()
    ).hexdigest()[:32]
    path = folder / f"{name}.npz"
    if path.exists():
        progress(len(assemblies), len(assemblies))
        return _read(path)
    chunks = [list(assemblies[i : i + _CHUNK]) for i in range(0, len(assemblies), _CHUNK)]
    plain = json.dumps(to_plain(target))
    number: dict[Operator, int] = {}
    rows: list[dict[int, int]] = []
    done = 0
    count = max(1, min(workers or os.cpu_count() or 1, len(chunks)))
    results: Any
    if count == 1:
        results = (_compile_chunk(plain, [a.key for a in chunk], chunk) for chunk in chunks)
        pool = None
    else:
        import multiprocessing

        _warm_blocks(assemblies)
        pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("fork"))
        results = pool.map(_compile_chunk, [plain] * len(chunks), [[a.key for a in c] for c in chunks], chunks)
    try:
        for chunk_rows in results:
            for kernels in chunk_rows:
                rows.append({number.setdefault(operator_from_plain(k), len(number)): n for k, n in kernels})
            done += len(chunk_rows)
            progress(done, len(assemblies))
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    counts = np.zeros((len(rows), len(number)), dtype=np.int32)
    for index, row in enumerate(rows):
        counts[index, list(row)] = list(row.values())
    catalogue = Catalogue(tuple(number), counts)
    _write(path, catalogue)
    return catalogue
