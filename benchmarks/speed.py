"""How fast predictions are.

Architectures a second on one thread, an ONNX file of 100 nodes, the kernels of one network.

Fits on a small campaign of the fake device's formula where no store is given: speed does not depend on the values.
Run: `python -m benchmarks.speed`.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import device_profiles
import nas
import predictors
import profiler
from benchmarks.machine import machine
from nas.spaces.export import onnx_bytes, subject
from predictors import registry
from predictors.graphs.graph_network import GraphNetwork
from profiler.capture import BlockCache, stitch
from profiler.fusing import fused_graph

ROWS = 200_000
GRAPHS = 4_000
REPEATS = 7


def best_s(work: Callable[[], Any]) -> tuple[float, float]:
    """Lowest and median time of seven."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times), statistics.median(times)


def hundred_nodes(folder: Path) -> tuple[Path, int]:
    """An ONNX file of about 100 nodes."""
    from profiler.onnx_graph import read_graph

    space = nas.spaces.load("nasbench201:cells=2")
    archs = space.sample(2000, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    found = None
    for arch in archs[rng.permutation(len(archs))[:60]]:
        content = onnx_bytes(space, arch)
        nodes = len(read_graph(content).nodes)
        if found is None or abs(nodes - 100) < abs(found[1] - 100):
            path = folder / "model.onnx"
            path.write_bytes(content)
            found = (path, nodes)
    assert found is not None
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="local-onnxruntime")
    arguments = parser.parse_args()
    target, space = device_profiles.load(arguments.target), nas.spaces.load("nasbench201:cells=1")
    archs = space.sample(5000, np.random.default_rng(0))[np.random.default_rng(1).integers(0, 5000, ROWS)]
    result: dict[str, Any] = {"benchmark": "speed", "rows": ROWS, "repeats": REPEATS}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with profiler.Store(folder / "store.db") as store:
            sample = [subject(space, arch) for arch in space.sample(20, np.random.default_rng(2))]
            profiler.measure(sample, target=target, store=store, budget=profiler.Budget(device_s=20.0, memory=False))
            for name in registry.names_for("latency"):
                predictors.fit(name, store, target=target, space=space).save(folder / name)
            conditions = store.require_conditions(target.name)
            graphs = [store.fused(model, conditions) for model in store.models()]
        path, nodes = hundred_nodes(folder)
        for name in registry.names_for("latency"):
            predictor = predictors.load(folder / name)
            predictor.predict(archs[:10])
            best, median = best_s(lambda p=predictor: p.predict(archs))
            file_best, file_median = best_s(lambda p=predictor: p.predict(path))
            result[name] = {
                "architectures_per_s": {"best": ROWS / best, "median": ROWS / median},
                "onnx_file_ms": {"best": 1e3 * file_best, "median": 1e3 * file_median},
            }
        result["onnx_nodes"] = nodes
        network = predictors.load(folder / "graph-network").model
        assert isinstance(network, GraphNetwork)
        batch = (graphs * (GRAPHS // len(graphs) + 1))[:GRAPHS]
        # At full trust: a network that is not trusted would not even be asked.
        best, median = best_s(lambda: replace(network, trust=1.0).predict(batch))
        result["graph-network"]["graphs_per_s"] = {"best": GRAPHS / best, "median": GRAPHS / median}
        result["graph-network"]["nodes_of_a_graph"] = sum(len(graph.nodes) for graph in batch) / GRAPHS
        for spec in ("nasbench201:cells=1", "nasbench201"):
            assembly = nas.spaces.load(spec).assembly(archs[0])
            cache = BlockCache.default()
            stitch(assembly, cache)

            def kernels(assembly: Any = assembly, cache: BlockCache = cache) -> None:
                file = folder / "kernels.onnx"
                file.write_bytes(stitch(assembly, cache, shared=True).SerializeToString())
                fused_graph(file, target)

            best, median = best_s(kernels)
            result[f"fused kernels of {spec}"] = {"best_ms": 1e3 * best, "median_ms": 1e3 * median}
    print(json.dumps({**result, "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
