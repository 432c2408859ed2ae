"""Simulated memory against what runtimes report of real networks. Bytes alone matter here, no times are taken.

Run: `python -m benchmarks.memory`. Four parts:

- `onnxruntime`: the arena's peak in ONNX Runtime's profile, `same` in the very session whose fused graph was simulated,
  `other` in further sessions, which may order nodes in another way; and at how many nodes bytes in use differ;
- `torch`: allocations that `torch.profiler` lists, of the runtime `torch`;
- `weights`: bytes of the captured graph against the module's own parameters and buffers;
- `process`: peak of a fresh process against base, weights and arena, fitted on the others each time (leave one out).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import device_profiles
import nas
from benchmarks.machine import machine
from device_profiles.errors import ConstantNetwork
from nas.spaces.export import onnx_bytes
from profiler import runtimes, transports
from profiler.agent.job import Candidate, Job, JobPlan
from profiler.fusing import runtime_options
from profiler.memory import MemoryPlan, fit_process_overhead, simulate
from profiler.memory.liveness import weights
from profiler.onnx_graph import read_graph

RUNS = 4
OTHER_SESSIONS = 5


def modules() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Hand-built modules and the shapes of their inputs."""
    import torch
    from torch import nn

    def conv(i: int, o: int, k: int = 3, **more: Any) -> Any:
        return nn.Sequential(nn.Conv2d(i, o, k, padding=k // 2, **more), nn.BatchNorm2d(o))

    class Residual(nn.Module):
        def __init__(self, width: int = 32) -> None:
            super().__init__()
            self.stem = conv(3, width)
            self.blocks = nn.ModuleList(
                nn.Sequential(conv(width, width), nn.ReLU(), conv(width, width)) for _ in range(3)
            )
            self.head = nn.Linear(width, 10)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            for block in self.blocks:
                x = torch.relu(x + block(x))
            return self.head(x.mean((2, 3)))

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = conv(3, 24)
            self.layers = nn.ModuleList(nn.Sequential(conv(24 + 12 * i, 12), nn.ReLU()) for i in range(5))
            self.head = nn.Linear(84, 10)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            for layer in self.layers:
                x = torch.cat([x, layer(x)], 1)
            return self.head(x.mean((2, 3)))

    class Mobile(nn.Module):
        def __init__(self, wide: int = 1) -> None:
            super().__init__()
            plan = [(16, 64, 24, 2), (24, 96, 24, 1), (24, 96, 40, 2), (40, 160, 40, 1)]
            self.stem = nn.Sequential(conv(3, 16 * wide, stride=2), nn.ReLU6())
            self.blocks = nn.ModuleList(
                nn.Sequential(
                    conv(i * wide, e * wide, 1),
                    nn.Hardswish(),
                    conv(e * wide, e * wide, stride=s, groups=e * wide),
                    nn.Hardswish(),
                    conv(e * wide, o * wide, 1),
                )
                for i, e, o, s in plan
            )
            self.head = nn.Linear(40 * wide, 10)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            for block in self.blocks:
                y = block(x)
                x = x + y if y.shape == x.shape else y
            return self.head(x.mean((2, 3)))

    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = conv(3, 24, stride=2)
            self.blocks = nn.ModuleList(
                nn.Sequential(conv(24, 36, 1, groups=3), nn.GELU(), conv(36, 36, groups=36), conv(36, 24, 1, groups=3))
                for _ in range(3)
            )

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            for block in self.blocks:
                y = block(x)
                n, c, h, w = y.shape
                x = x + y.reshape(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)
            return x

    class Transformer(nn.Module):
        def __init__(self, width: int, heads: int, depth: int) -> None:
            super().__init__()
            self.heads = heads
            self.blocks = nn.ModuleList(
                nn.ModuleList(
                    [
                        nn.LayerNorm(width),
                        nn.Linear(width, 3 * width),
                        nn.Linear(width, width),
                        nn.LayerNorm(width),
                        nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)),
                    ]
                )
                for _ in range(depth)
            )

        def forward(self, x: Any) -> Any:
            b, n, d = x.shape
            for first, qkv, out, second, mlp in self.blocks:  # type: ignore[misc]  # lists of modules have no types
                q, k, v = qkv(first(x)).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
                mixed = torch.softmax(q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5, -1) @ v
                x = x + out(mixed.transpose(1, 2).reshape(b, n, d))
                x = x + mlp(second(x))
            return x

    torch.manual_seed(0)
    return {
        "residual": (Residual(), (1, 3, 32, 32)),
        "residual, batch 4, 64x64": (Residual(), (4, 3, 64, 64)),
        "dense concatenation": (Dense(), (1, 3, 32, 32)),
        "dense concatenation, 224x224": (Dense(), (1, 3, 224, 224)),
        "MobileNet-like": (Mobile(), (1, 3, 64, 64)),
        "MobileNet-like, 224x224": (Mobile(), (1, 3, 224, 224)),
        "MobileNet-like, 5 x as wide": (Mobile(5), (1, 3, 64, 64)),
        "grouped, batch 2": (Grouped(), (2, 3, 96, 96)),
        "transformer": (Transformer(64, 4, 2), (1, 48, 64)),
        "transformer, batch 2": (Transformer(96, 6, 4), (2, 100, 96)),
        "transformer, wide": (Transformer(384, 6, 2), (1, 48, 384)),
    }


def models(folder: Path, architectures: int) -> dict[str, tuple[Path, Any]]:
    """ONNX files by name, with the module where there is one."""
    import onnx

    from profiler.capture import capture_module

    found: dict[str, tuple[Path, Any]] = {}
    for name, (module, shape) in modules().items():
        path = folder / f"{len(found)}.onnx"
        onnx.save(capture_module(module, shape), path)
        found[name] = path, module
    space = nas.spaces.load("nasbench201")
    for arch in space.sample(architectures, np.random.default_rng(0)):
        path = folder / f"{len(found)}.onnx"
        with contextlib.suppress(ConstantNetwork):
            path.write_bytes(onnx_bytes(space, arch))
            found[space.format(arch)] = path, None
    return found


def arena_events(model: Path, folder: Path) -> tuple[bytes, list[list[dict[str, Any]]]]:
    """The fused model of one session, and its profile: what each node says of the arena, for each of the runs."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    settings.optimized_model_filepath = str(folder / "fused.onnx")
    settings.enable_profiling, settings.profile_file_prefix = True, str(folder / "profile")
    session = ort.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
    feed = {v.name: np.zeros(v.shape, np.float32) for v in session.get_inputs()}
    feed = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in feed.items()}
    for _ in range(RUNS):
        session.run_with_ort_values([v.name for v in session.get_outputs()], feed)
    events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    each = len(nodes) // RUNS
    return (folder / "fused.onnx").read_bytes(), [nodes[i * each : (i + 1) * each] for i in range(RUNS)]


def onnxruntime_row(model: Path, folder: Path) -> dict[str, Any]:
    """One network against ONNX Runtime."""
    fused, runs = arena_events(model, folder)
    graph = read_graph(fused, runtime="onnxruntime")
    plan = simulate(graph, "onnxruntime")
    first = [int(event["args"]["mem_bytes_in_use"]) for event in runs[0]]
    same = max(int(event["args"]["mem_in_use_peak"]) for run in runs for event in run)
    options = runtime_options(device_profiles.load("local-onnxruntime"))
    others = []
    for _ in range(OTHER_SESSIONS):
        profile = runtimes.load("onnxruntime").load(model, options).profile(RUNS)
        assert profile is not None and profile.allocator_peak_bytes is not None
        others.append(profile.allocator_peak_bytes)
    differ = sum(a != b for a, b in zip(first, plan.allocator_timeline, strict=False))
    return {
        "nodes": len(graph.nodes),
        "liveness": plan.activation_peak_bytes,
        "simulated": plan.allocator_peak_bytes,
        "same": same,
        "ratio": plan.allocator_peak_bytes / same,
        "nodes_that_differ": differ if len(first) == len(graph.nodes) else None,
        "other": sorted(set(others)),
        "ratio_other": plan.allocator_peak_bytes / float(np.median(others)),
        "notes": plan.notes,
    }


def torch_row(model: Path, folder: Path) -> dict[str, Any]:
    """One network against PyTorch."""
    from torch.profiler import ProfilerActivity, profile

    plan = simulate(read_graph(model), "torch")
    session: Any = runtimes.load("torch").load(model, runtime_options(device_profiles.load("local-torch")))
    for _ in range(2):
        session.run()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        session.run()
    seen.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    changes = [(e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]"]
    peak = level = plan.allocator_resident_bytes  # outputs of the last inference; the trace has changes alone
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        level += change
        peak = max(peak, level)
    session.close()
    return {
        "liveness": plan.activation_peak_bytes,
        "simulated": plan.allocator_peak_bytes,
        "reported": peak,
        "ratio": plan.allocator_peak_bytes / peak,
        "notes": plan.notes,
    }


def weights_row(model: Path, module: Any) -> dict[str, int]:
    """Bytes of the module's state (without the counters of batch norm), and of the graph's constants.

    `graph` has the constants that are numbers with a dimension; `added` are those that the exporter put in: shapes,
    axes, single factors.
    """
    graph = read_graph(model)
    constants = weights(graph)
    kept = sum(tensor.bytes for tensor in constants.values() if tensor.shape and "float" in tensor.dtype)
    state = [tensor for name, tensor in module.state_dict().items() if "num_batches" not in name]
    held = sum(tensor.numel() * tensor.element_size() for tensor in state)
    return {"module": held, "graph": kept, "added": simulate(graph, "fake").weight_bytes - kept}


def process_peaks(paths: list[Path], folder: Path) -> list[int]:
    """Peak memory of a fresh process for each model, by the agent."""
    candidates = []
    for path in paths:
        (folder / path.name).write_bytes(path.read_bytes())
        candidates.append(Candidate(path.stem, path.name, memory=True))
    Job("nonce", "onnxruntime", tuple(candidates), plan=JobPlan(rounds=1, min_rounds=1, seconds=0.1)).write(
        folder / "job.json"
    )
    lines: Iterator[str] = transports.load("local", "", {}).run(folder, {"OMP_NUM_THREADS": "1"}, 600.0)
    events = [json.loads(line) for line in lines]
    found = {event["id"]: int(event["process_peak_bytes"]) for event in events if event["event"] == "memory"}
    return [found[path.stem] for path in paths]


def process_fit(plans: list[MemoryPlan], peaks: list[int]) -> dict[str, Any]:
    """The fit on all, and the error of each from the fit on the others."""
    fit = fit_process_overhead(plans, peaks)
    errors = []
    for left, (plan, peak) in enumerate(zip(plans, peaks, strict=True)):
        others = [i for i in range(len(plans)) if i != left]
        fitted = fit_process_overhead([plans[i] for i in others], [peaks[i] for i in others])
        errors.append(abs(fitted.process_peak_bytes(plan) / peak - 1))
    return {
        "base_mib": fit.base_bytes / 2**20,
        "per_weight_byte": fit.per_weight_byte,
        "spread_mib": fit.spread_bytes / 2**20,
        "worst_mib": fit.worst_bytes / 2**20,
        "networks": fit.networks,
        "left_out_error": {"median": float(np.median(errors)), "worst": max(errors)},
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architectures", type=int, default=12, help="sampled from NAS-Bench-201")
    parser.add_argument("--processes", type=int, default=10, help="networks of the fit of a process")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found = models(folder, arguments.architectures)
        rows = {name: onnxruntime_row(path, folder) for name, (path, _) in found.items()}
        eager = {name: torch_row(path, folder) for name, (path, _) in found.items()}
        counted = {name: weights_row(path, module) for name, (path, module) in found.items() if module is not None}
        fused = {name: read_graph(arena_events(path, folder)[0]) for name, (path, _) in found.items()}
        every = {name: simulate(graph, "onnxruntime") for name, graph in fused.items()}
        ordered = sorted(every, key=lambda name: every[name].weight_bytes)  # small, large and between
        chosen = [ordered[i] for i in np.linspace(0, len(ordered) - 1, arguments.processes).astype(int)]
        plans = [every[name] for name in chosen]
        (folder / "job").mkdir()
        peaks = process_peaks([found[name][0] for name in chosen], folder / "job")
    result = {
        "benchmark": "memory",
        "onnxruntime": rows,
        "torch": eager,
        "weights": counted,
        "process": {
            **process_fit(plans, peaks),
            "peaks_mib": {n: p / 2**20 for n, p in zip(chosen, peaks, strict=True)},
        },
        "summary": {
            "onnxruntime": _summary([row["ratio"] for row in rows.values()]),
            "onnxruntime, another session": _summary([row["ratio_other"] for row in rows.values()]),
            "torch": _summary([row["ratio"] for row in eager.values()]),
        },
        "machine": machine(),
    }
    print(json.dumps(result, indent=1))


def _summary(ratios: list[float]) -> dict[str, float]:
    errors = np.abs(np.array(ratios) - 1.0)
    return {"median": float(np.median(errors)), "worst": float(errors.max()), "networks": len(ratios)}


if __name__ == "__main__":
    main()
