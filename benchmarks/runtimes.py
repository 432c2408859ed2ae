"""Runtimes and precisions side by side: do their numbers close, repeat and predict, and which is fastest for a model?

    python -m benchmarks.runtimes [--targets NAME ...] [--part spaces|loops|models ...] [-o FOLDER]

`spaces`: 40 networks profiled (90 s of device time at most), `lookup` fitted, 24 others measured, twice. `loops`: a
network beside a plain loop of the runtime, in fresh processes that take turns. `models`: files that PyPI packages ship,
under each runtime that takes them. On a machine that does nothing else; about 5 minutes for a target and a space.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import device_profiles
import nas
import profiler
from benchmarks import real_models, spaces_measured
from benchmarks.machine import machine
from nas.spaces.export import onnx_bytes
from profiler import compilers, runtimes
from profiler.conditions import conditions_of
from profiler.fusing import runtime_options
from profiler.summary import latencies, measurements

SPACES = ("nasbench201", "mobilenetv3:resolution=160,smallest=160,step=32")
#: What is asked for: the error of predictions, in multiples of the noise and at least; how two invocations agree.
LEAST_ERROR, NOISES, REPEATS, PLAIN = 0.04, 1.5, 0.015, 0.05
LOOP_PROCESSES = 5

#: A plain loop of each runtime, as its users write it: reads argv[1], leaves `call`.
_SETUPS = {
    "onnxruntime": """
import onnxruntime as ort
settings = ort.SessionOptions()
settings.intra_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], settings, providers=["CPUExecutionProvider"])
binding = session.io_binding()
for value in session.get_inputs():
    binding.bind_ortvalue_input(value.name, ort.OrtValue.ortvalue_from_numpy(x(value.shape)))
for output in session.get_outputs():
    binding.bind_output(output.name)
call = lambda: session.run_with_iobinding(binding)
""",
    "openvino": """
import openvino as ov
compiled = ov.compile_model(sys.argv[1], "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
request = compiled.create_infer_request()
for value in compiled.inputs:
    request.set_tensor(value, ov.Tensor(x(value.shape)))
call = request.infer
""",
}
_LOOP = """
import json, sys, time
import numpy as np
x = lambda shape: np.random.default_rng(0).standard_normal(list(shape)).astype(np.float32)
{setup}
call()
taken = []
while len(taken) < 15:
    start = time.perf_counter_ns()
    for _ in range(20):
        call()
    taken.append((time.perf_counter_ns() - start) / 20 / 1e6)
print(sorted(taken)[7])
"""


def space(spec: str, target: str, folder: Path) -> dict[str, Any]:
    """Reach of a target on a space: error, noise, closure, and how a second measurement of the unseen agrees."""
    place = folder / target
    found = spaces_measured.one(spec, ("lookup",), place, target) | {"target": target}
    unseen = place / spec.partition(":")[0] / "unseen.db"
    again = unseen.with_name("again.db")
    spaces_measured.command(
        "profile", target, "--space", spec, "--samples", str(spaces_measured.UNSEEN), "--seed", "1000",
        "--store", str(again),
    )  # fmt: skip
    values = []
    closures: list[float] = []
    for path in (unseen, again):
        with profiler.Store(str(path), create=False) as store:
            conditions = store.require_conditions(target)
            values.append({model: one.value_ms for model, one in latencies(store, conditions).items()})
            closures += [one.closure for one in measurements(store, conditions) if one.closure is not None]
    both = sorted(values[0].keys() & values[1].keys())
    apart = [abs(values[0][model] / values[1][model] - 1.0) for model in both]
    scores = found["lookup"]
    found |= {
        "repeats": float(np.median(apart)),
        "closure": float(np.median(closures)) if closures else None,
        "mape": scores["mape"],
        "noise": scores["noise_mape"],
    }
    found["reached"] = {
        "mape": scores["mape"] <= max(LEAST_ERROR, NOISES * scores["noise_mape"]),
        "repeats": found["repeats"] <= REPEATS,
    }
    return found


def loop(spec: str, target: str) -> dict[str, Any]:
    """One network beside a plain loop of its runtime: fresh processes of both in turns, the lowest medians."""
    chosen = device_profiles.load(target)
    name = chosen.runtime.name
    if name not in _SETUPS or chosen.runtime.precision != "fp32":
        return {"target": target, "space": spec, "reason": "no plain loop is written for it"}
    opened = nas.spaces.load(spec)
    arch = opened.sample(1, np.random.default_rng(5))[0]
    cpus = ",".join(map(str, conditions_of(chosen).own.affinity))
    plain, ours = [], []
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "network.onnx"
        path.write_bytes(onnx_bytes(opened, arch))
        compiled = compilers.load(name).compile(path, runtime_options(chosen))
        code = _LOOP.format(setup=_SETUPS[name])
        for number in range(LOOP_PROCESSES):
            done = subprocess.run(
                ["taskset", "-c", cpus, sys.executable, "-c", code, str(compiled)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            plain.append(float(done.stdout.split()[-1]))
            answer = spaces_measured.command(
                "profile", target, "--space", spec, "--arch", opened.format(arch), "--budget", "6s",
                "--store", f"{place}/{number}.db",
            )  # fmt: skip
            ours.append(answer["measurements"][0]["latency_ms"]["value"])
    return {
        "target": target,
        "space": spec,
        "plain_ms": min(plain),
        "ours_ms": min(ours),
        "ratio": min(ours) / min(plain),
    }


def models(targets: list[str], files: Path, folder: Path) -> list[dict[str, Any]]:
    """Files of packages under each target: measured, or refused with a reason; and which is fastest."""
    rows = []
    for path in real_models.models(files):
        row: dict[str, Any] = {"model": path.name}
        for target in targets:
            shapes = [w for name, shape in real_models.shapes_of(path).items() for w in ("--shape", f"{name}={shape}")]
            answer = real_models.command(
                "profile", target, "--model", str(path), *shapes, "--store", str(folder / "models.db")
            )
            found = answer.get("measurements") or []
            if found:
                latency = found[0]["latency_ms"]
                row[target] = {name: latency[name] for name in ("value", "low", "high", "state")}
            else:
                row[target] = {"reason": answer.get("error", {}).get("message") or answer["failed"][0]["reason"]}
        known = {target: row[target]["value"] for target in targets if "value" in row[target]}
        row["fastest"] = min(known, key=known.__getitem__) if known else None
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [t for t in device_profiles.names() if not runtimes.REGISTRY.get(_runtime(t)).traits.simulated]
    parser.add_argument("--targets", nargs="*", default=[t for t in usual if not t.endswith("-2t")])
    parser.add_argument("--spaces", nargs="*", default=SPACES)
    parser.add_argument("--part", nargs="*", default=["spaces", "loops", "models"])
    parser.add_argument("--files", type=Path, default=Path("runs/real_models"), help="where real_models keeps them")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/runtimes"))
    options = parser.parse_args()
    found: dict[str, Any] = {"benchmark": "runtimes", "machine": machine()}
    options.output.mkdir(parents=True, exist_ok=True)
    for part, one in (("spaces", lambda s, t: space(s, t, options.output)), ("loops", loop)):
        if part in options.part:
            found[part] = []
            for spec in options.spaces:
                for target in options.targets:
                    found[part].append(one(spec, target))
                    print(json.dumps(found[part][-1]), file=sys.stderr, flush=True)
    if "models" in options.part:
        found["models"] = models(options.targets, options.files, options.output)
    print(json.dumps(found, indent=1))


def _runtime(target: str) -> str:
    return device_profiles.load(target).runtime.name


if __name__ == "__main__":
    main()
