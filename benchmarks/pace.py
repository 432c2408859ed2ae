"""How long a large store takes to read: what is pending, and all latencies. Run: `python -m benchmarks.pace`.

The store is made up: 300 models of 4 processes with 15 blocks each, 18,000 blocks.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from device_profiles.conditions import Conditions, Cpu
from profiler import Budget, Store, schema
from profiler.operators import Node, Operator, OperatorGraph, Tensor
from profiler.outstanding import outstanding
from profiler.records import ModelRow
from profiler.summary import latencies, measurements

MODELS, PROCESSES, BLOCKS = 300, 4, 15
GUARD_NS = 400_000
CONDITIONS = Conditions(
    device="made up", own=Cpu("none", "", cores=1, kernel="0", governor="none", numpy="0", threads=1, affinity=(0,)),
    runtime="fake", runtime_version="0", precision="fp32", optimisation="all", cache_state="network", options=(),
    batch=1, protocol=1,
)  # fmt: skip


def fill(store: Store, *, models: int = MODELS, processes: int = PROCESSES, blocks: int = BLOCKS) -> list[str]:
    """Write models that were measured, with 2 % of noise, as target `made-up`; their ids."""
    rng = np.random.default_rng(0)
    store.bind("made-up", "{}", CONDITIONS)
    shape = Tensor((1, 8))
    graph = OperatorGraph(
        (Node(Operator("", "Relu", (), (shape,), (shape,)), ("x",), ("y",)),), (("x", shape),), ("y",)
    )
    ids = [f"m{number}" for number in range(models)]
    for model in ids:
        store.add_model(ModelRow(model, f"{model}.onnx", None, None), graph)
    for number in range(processes):
        process = store.start_process(CONDITIONS, f"invocation {number}", number)
        rows = [
            {"process": process, "model": model, "round": round_, "retry": 0, "calls": 10,
             "ns": int(1e6 * (1 + index) * (1 + 0.02 * abs(noise))),
             "sentinel_before_ns": GUARD_NS, "sentinel_after_ns": GUARD_NS}
            for round_ in range(blocks)
            for index, (model, noise) in enumerate(zip(ids, rng.standard_normal(models), strict=True))
        ]  # fmt: skip
        with store.transaction() as connection:
            connection.execute(schema.BLOCKS.insert(), rows)
        store.end_process(process, state="finished", device_s=1.0, facts=[])
    return ids


def seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """The best of a few."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=MODELS)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "a.db") as store:
        ids = fill(store, models=arguments.models, processes=arguments.processes)
        result = {
            "benchmark": "pace",
            "models": len(ids),
            "blocks": len(store.blocks(CONDITIONS)),
            "pending_s": seconds(lambda: outstanding(store, CONDITIONS, ids, Budget(), least_blocks=5)),
            "latencies_s": seconds(lambda: latencies(store, CONDITIONS)),
            "measurements_s": seconds(lambda: measurements(store, CONDITIONS)),
            "machine": machine(),
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
