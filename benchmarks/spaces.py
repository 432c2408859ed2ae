"""Every space: how long it takes to be told, how far that is from compiling network by network, and how fast it is.

    python -m benchmarks.spaces [-o OUT] [--space NAME ...] [--networks 200]     from an empty cache; hours for all
    python -m benchmarks.spaces --cache FOLDER                                   keeps what was compiled
    python -m benchmarks.spaces --cost memory                                    of memory, not of a sum over kernels

Nothing is measured on the device: the costs of kernels are drawn, since what is asked is whether sums are those of the
kernels that a runtime really runs; memory (`--cost memory`) is simulated. Networks that deviations are taken of were
not compiled for the table.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine

#: Encodings that are predicted at once, those where networks are walked or joined one by one, and rows of
#: probabilities.
ENCODINGS, SLOW, ROWS = 200_000, 2_000, 256
#: Encodings that have no gradients.
_PLAIN = ("walked", "tallied")


def one(spec: str, networks: int, memory: bool = False) -> dict[str, Any]:
    """All figures of a space: of a drawn cost, or of memory."""
    import torch

    import device_profiles
    import nas
    from predictors import encodings
    from predictors.encodings import Blockwise, Joined
    from predictors.graphs.simulation import Simulation
    from profiler.catalogue import compile_all

    torch.set_num_threads(1)
    space, target = nas.spaces.load(spec), device_profiles.load("local-onnxruntime")
    model, unit = (Simulation(), "bytes") if memory else (drawn_model(), "ms")
    start = time.perf_counter()
    encoding, fidelity = encodings.choose(model, space, target, unit, progress=lambda done, total: None)
    first_s = time.perf_counter() - start
    start = time.perf_counter()
    encodings.choose(model, space, target, unit, progress=lambda done, total: None)
    found: dict[str, Any] = {
        "space": spec,
        "genomes": float(space.size),
        "kind": fidelity.kind,
        "exact": isinstance(encoding, (Blockwise, Joined)) and not encoding.error,
        "compiled": fidelity.compiled,
        "fit_s": first_s,
        "fit_again_s": time.perf_counter() - start,
    }
    archs = space.sample(networks, np.random.default_rng(77))
    alone = model.predict_catalogue(compile_all([space.assembly(arch) for arch in archs], target)).value
    deviation = np.abs(encoding.predict(archs).value / alone - 1.0)
    found |= {"networks": networks, "median": float(np.median(deviation)), "worst": float(deviation.max())}
    rng = np.random.default_rng(1)
    slow = fidelity.kind in ("walked", "joined")
    drawn = space.sample if slow else lambda n, rng: rng.integers(0, space.choices, size=(n, len(space.choices)))
    many = drawn(SLOW if slow else ENCODINGS, rng)
    start = time.perf_counter()
    encoding.predict(many)
    found["encodings_per_s"] = len(many) / (time.perf_counter() - start)
    return found if fidelity.kind in _PLAIN else found | _gradients(encoding, archs)


def _gradients(encoding: Any, archs: Any) -> dict[str, Any]:
    import torch

    cost = encoding.differentiable()
    hot = [torch.nn.functional.one_hot(torch.as_tensor(archs[:, g]), n).double() for g, n in enumerate(cost.choices)]
    one_hot = float(np.abs(cost(hot).numpy() / encoding.predict(archs).value - 1.0).max())
    soft = [torch.softmax(torch.randn(ROWS, n), dim=-1) for n in cost.choices]
    cost(soft)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        cost(soft)
        taken.append((time.perf_counter() - start) * 1e3)
    return {"one_hot": one_hot, "expected_ms": float(np.median(taken))}


def drawn_model() -> Any:
    """A model of kernels whose costs are drawn by their keys: about their size, so that large ones matter more."""
    import zlib
    from dataclasses import dataclass

    from predictors.composition import Composition
    from predictors.network import Additive, NetworkModel
    from profiler import work

    @dataclass(frozen=True)
    class Drawn(NetworkModel):
        def additive(self, catalogue: Any) -> Additive:
            noise = np.array([zlib.crc32(kernel.key.encode()) / 2**32 for kernel in catalogue])
            size = np.array([work.macs(kernel) + 4.0 * work.bytes_moved(kernel) for kernel in catalogue])
            cost = 0.001 + size * 1e-7 * (0.7 + 0.6 * noise)
            zero = np.zeros_like(cost)
            return Additive(np.stack([cost, np.ones_like(cost), cost, zero, zero], axis=1), zero > 0)

    return Drawn(None, Composition(1.0, 0.0, 0.05), half_width=0.05)  # type: ignore[arg-type]


def main() -> None:
    """Print figures as JSON, one space after the other."""
    import nas

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--space", action="append")
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--cost", choices=("latency", "memory"), default="latency")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as empty:
        os.environ["HWNAS_CACHE"] = str(asked.cache or empty)
        rows: list[dict[str, Any]] = []
        for spec in asked.space or nas.spaces.names():
            try:
                rows.append(one(spec, asked.networks, asked.cost == "memory"))
            except Exception as error:  # the others are still asked for
                rows.append({"space": spec, "error": f"{type(error).__name__}: {error}"})
            print(json.dumps(rows[-1]), flush=True)
            if asked.output is not None:
                asked.output.write_text(json.dumps({"machine": machine(), "spaces": rows}, indent=1))


if __name__ == "__main__":
    main()
