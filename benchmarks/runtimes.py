"""Runtimes and precisions side by side: do their numbers close, repeat and predict, and which is fastest for a model?

    python -m benchmarks.runtimes [--targets NAME ...] [--part spaces|loops|models|probes ...] [-o FOLDER]

`spaces`: 40 networks profiled (90 s of device time at most), `lookup` fitted, 24 others measured twice. `loops`: a
network beside a plain loop of the runtime, in fresh processes that take turns. `models`: files that PyPI packages ship,
under each runtime that takes them. `probes`: what a predictor of probes alone says of those. On a machine that does
nothing else; about 5 minutes for a target and a space.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import device_profiles
import nas
import predictors
import profiler
from benchmarks import real_models, real_models_predict, spaces_measured
from benchmarks.machine import machine
from benchmarks.spaces_measured import BUDGET, LEARNED, UNSEEN
from device_profiles.errors import DeviceError, HwnasError
from nas.spaces.export import onnx_bytes
from predictors.evaluation import evaluate
from profiler import compilers, modules, runtimes
from profiler.conditions import conditions_of
from profiler.fusing import runtime_options
from profiler.summary import latencies, measurements

SPACES = ("nasbench201", "mobilenetv3:resolution=160,smallest=160,step=32")
#: What is asked for: the error of predictions, in multiples of the noise and at least; how two invocations agree.
LEAST_ERROR, NOISES, REPEATS, OF_PROBES = 0.04, 1.5, 0.015, 0.10
LOOP_PROCESSES = 5

#: A plain loop of each runtime and precision, as its users write it: reads the compiled model `argv[1]` and the shape
#: of its input `argv[2]`, leaves `call`.
_ONNXRUNTIME = """
import onnxruntime as ort
settings = ort.SessionOptions()
settings.intra_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], settings, providers=["CPUExecutionProvider"])
binding = session.io_binding()
for value in session.get_inputs():
    binding.bind_ortvalue_input(value.name, ort.OrtValue.ortvalue_from_numpy(x))
for output in session.get_outputs():
    binding.bind_output(output.name)
call = lambda: session.run_with_iobinding(binding)
"""
_OPENVINO = """
import openvino as ov
compiled = ov.compile_model(sys.argv[1], "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
request = compiled.create_infer_request()
request.set_input_tensor(ov.Tensor(x))
call = request.infer
"""
_LITERT = """
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
call = interpreter.invoke
"""
_NCNN = """
import ncnn
net = ncnn.Net()
net.opt.num_threads = 1
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
net.load_param(sys.argv[1])
net.load_model(sys.argv[1].removesuffix("param") + "bin")
image = ncnn.Mat(x[0])
def call():
    extractor = net.create_extractor()
    extractor.input("in0", image)
    return extractor.extract("out0")
"""
_EXECUTORCH = """
import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime
portable_lib._unsafe_reset_threadpool(1)
method = Runtime.get().load_program(sys.argv[1]).load_method("forward")
image = [torch.from_numpy(x)]
call = lambda: method.execute(image)
"""
#: What a program has done that has read an image: glibc then keeps memory that is freed, in place of giving it back to
#: the system and taking it again. PyTorch takes and frees memory in each inference, and hwnas's sentinel does this.
_FREED = "np.ones(1 << 21)"
#: PyTorch's users have a module: `argv[1]` is the function that makes it.
_TORCH = """
import torch
from benchmarks import runtimes
torch.set_num_threads(1)
network, image = getattr(runtimes, sys.argv[1])(), torch.from_numpy(x)
{compiled}
def call():
    with torch.inference_mode():
        return network(image)
"""
_TORCH_OURS = """
import json, sys
import torch
import hwnas, profiler
from benchmarks import runtimes
made, target, shape = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
budget = profiler.Budget(device_s=6.0)
module = getattr(runtimes, made)()
found = hwnas.measure(
    module, [torch.zeros(shape)], target=target, factory="benchmarks.runtimes:" + made, budget=budget
)
print(found.latency.value_ms)
"""
_SETUPS = {
    ("onnxruntime", "fp32"): _ONNXRUNTIME,
    ("onnxruntime", "int8"): _ONNXRUNTIME,
    ("openvino", "fp32"): _OPENVINO,
    ("openvino", "int8"): _OPENVINO,
    ("litert", "fp32"): _LITERT,
    ("litert", "int8"): _LITERT,
    ("ncnn", "fp32"): _NCNN,
    ("executorch", "fp32"): _EXECUTORCH,
    ("executorch", "int8"): _EXECUTORCH,
    ("torch", "fp32"): _TORCH.format(compiled=""),
    ("torch-compile", "fp32"): _TORCH.format(compiled="network = torch.compile(network)"),
}
_LOOP = """
import json, sys, time
import numpy as np
x = np.random.default_rng(0).standard_normal(json.loads(sys.argv[2])).astype(np.float32)
{before}
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


def cells() -> Any:
    """The network of `nasbench201` as a torch module, as its user would have it."""
    return _module(SPACES[0])


def mobile() -> Any:
    """The network of `mobilenetv3` as a torch module."""
    return _module(SPACES[1])


_MODULES = {SPACES[0]: "cells", SPACES[1]: "mobile"}


def _module(spec: str) -> Any:
    import torch

    torch.manual_seed(0)
    return nas.spaces.load(spec).assembly(_arch(spec)).to_module().eval()


def _arch(spec: str) -> Any:
    """The architecture that is put beside plain loops."""
    return nas.spaces.load(spec).sample(1, np.random.default_rng(5))[0]


def space(spec: str, target: str, folder: Path, longer: str | None) -> dict[str, Any]:
    """Reach of a target on a space: error, noise, closure, and how a second measurement of the unseen agrees.

    Args:
        spec: the space.
        target: the target.
        folder: stores are kept there.
        longer: device time of each measurement of the unseen, if not what `hwnas profile` takes by itself.
    """
    place = folder / target / spec.partition(":")[0]
    place.mkdir(parents=True, exist_ok=True)
    learned, unseen, again = (place / f"{name}.db" for name in ("learned", "unseen", "again"))
    sampled, start = ("profile", target, "--space", spec, "--samples"), time.monotonic()
    spaces_measured.command(*sampled, str(LEARNED), "--budget", BUDGET, "--store", str(learned))
    found: dict[str, Any] = {"target": target, "space": spec, "profile_s": time.monotonic() - start}
    for path in (unseen, again):
        more = ("--budget", longer) if longer else ()
        spaces_measured.command(*sampled, str(UNSEEN), "--seed", "1000", *more, "--store", str(path))
    with profiler.Store(str(learned), create=False) as store:
        found["device_s"] = store.device_s(store.require_conditions(target))
        fitted = predictors.fit("lookup", store, target=device_profiles.load(target))
    values, closures = [], []
    for path in (unseen, again):
        with profiler.Store(str(path), create=False) as store:
            conditions = store.require_conditions(target)
            values.append({model: one.value_ms for model, one in latencies(store, conditions).items()})
            closures += [one.closure for one in measurements(store, conditions) if one.closure is not None]
            if path == unseen:
                told = evaluate(fitted, store)
    both = sorted(values[0].keys() & values[1].keys())
    apart = [abs(values[0][model] / values[1][model] - 1.0) for model in both]
    scores, noise = told.scores, told.noise_mape or 0.0
    found |= {
        "networks": scores.n,
        "median_ms": float(np.median(list(values[0].values()))),
        "mape": scores.mape,
        "noise_mape": noise,
        "inside": scores.interval_coverage,
        "spearman": scores.spearman,
        "closure": [float(value) for value in np.quantile(closures, (0.1, 0.5, 0.9))] if closures else None,
        "repeats": float(np.median(apart)),
        "unseen_budget": longer,
    }
    found["reached"] = {
        "mape": scores.mape <= max(LEAST_ERROR, NOISES * noise),
        "repeats": found["repeats"] <= REPEATS,
    }
    return found


def loop(spec: str, target: str) -> dict[str, Any]:
    """One network beside a plain loop of its runtime: fresh processes of both in turns, the lowest medians.

    A second loop (`freed_ms`) has freed a large array before, as `_FREED` says.
    """
    chosen = device_profiles.load(target)
    name, precision = chosen.runtime.name, chosen.runtime.precision
    if (name, precision) not in _SETUPS:
        return {"target": target, "space": spec, "reason": "no plain loop is written for it"}
    opened, arch = nas.spaces.load(spec), _arch(spec)
    cpus = ",".join(map(str, conditions_of(chosen).own.affinity))
    shape = json.dumps(opened.input_shape)
    codes = [_LOOP.format(setup=_SETUPS[name, precision], before=before) for before in ("", _FREED)]
    loops, ours = [], []
    with tempfile.TemporaryDirectory() as place:
        if name in modules.AS_THEY_ARE:
            made = _MODULES[spec]
        else:
            path = Path(place) / "network.onnx"
            path.write_bytes(onnx_bytes(opened, arch))
            made = str(compilers.load(name).compile(path, runtime_options(chosen)))
        for number in range(LOOP_PROCESSES):
            loops.append([_printed(["taskset", "-c", cpus, sys.executable, "-c", one, made, shape]) for one in codes])
            if name in modules.AS_THEY_ARE:
                ours.append(_printed([sys.executable, "-c", _TORCH_OURS, made, target, shape]))
                continue
            answer = spaces_measured.command(
                "profile", target, "--space", spec, "--arch", opened.format(arch), "--budget", "6s",
                "--store", f"{place}/{number}.db",
            )  # fmt: skip
            ours.append(answer["measurements"][0]["latency_ms"]["value"])
    plain_ms, freed_ms = map(min, zip(*loops, strict=True))
    return {
        "target": target,
        "space": spec,
        "plain_ms": plain_ms,
        "freed_ms": freed_ms,
        "ours_ms": min(ours),
        "ratio": min(ours) / plain_ms,
        "ratio_to_freed": min(ours) / freed_ms,
    }


def _printed(arguments: list[str]) -> float:
    """The number that a fresh process prints last."""
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def models(targets: list[str], files: Path, folder: Path, leave_out: str) -> list[dict[str, Any]]:
    """Files of packages under each target: measured, or refused with a reason; and which is fastest."""
    rows = []
    for path in real_models.models(files):
        if leave_out and leave_out in str(path):
            continue
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


def probes(targets: list[str], folder: Path, leave_out: str, count: int) -> list[dict[str, Any]]:
    """What a predictor that has seen probes under each target says of the files that `models` has measured there."""
    rows = []
    for target in targets:
        store = folder / target / "probes.db"
        store.parent.mkdir(parents=True, exist_ok=True)
        asked = ("--probes", str(count), "--budget", "130s")
        answer = real_models.command("profile", target, *asked, "--store", str(store))
        row: dict[str, Any] = {"target": target, "probes": len(answer.get("measurements") or [])}
        try:
            found = real_models_predict.evaluate(store, folder / "models.db", target, leave_out=leave_out)
        except HwnasError as error:
            row["reason"] = error.message
        else:
            row |= {name: value for name, value in found.items() if isinstance(value, int | float)}
            row["reached"] = found["median_error"] <= OF_PROBES
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="*", default=[t for t in device_profiles.names() if is_here(t)])
    parser.add_argument("--spaces", nargs="*", default=SPACES)
    parser.add_argument("--part", nargs="*", default=["spaces", "loops", "models", "probes"])
    parser.add_argument("--unseen-budget", help="device time of each of the two measurements of `spaces`, such as 180s")
    parser.add_argument("--files", type=Path, default=Path("runs/real_models"), help="where real_models keeps them")
    parser.add_argument("--leave-out", default="", help="a part of the paths of models that do not count")
    parser.add_argument("--probes", type=int, default=60, help="that are asked for, of which a runtime takes some")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/runtimes"))
    options = parser.parse_args()
    found: dict[str, Any] = {"benchmark": "runtimes", "machine": machine()}
    options.output.mkdir(parents=True, exist_ok=True)
    for part, one in (("spaces", lambda s, t: space(s, t, options.output, options.unseen_budget)), ("loops", loop)):
        if part in options.part:
            found[part] = []
            for spec in options.spaces:
                for target in options.targets:
                    found[part].append(one(spec, target))
                    print(json.dumps(found[part][-1]), file=sys.stderr, flush=True)
    if "models" in options.part:
        found["models"] = models(options.targets, options.files, options.output, options.leave_out)
    if "probes" in options.part:
        found["probes"] = probes(options.targets, options.output, options.leave_out, options.probes)
    print(json.dumps(found, indent=1))


def is_here(target: str) -> bool:
    """Whether a target of one thread has all that it needs on this machine."""
    name = device_profiles.load(target).runtime.name
    if runtimes.REGISTRY.get(name).traits.simulated or target.endswith("-2t"):
        return False
    try:
        runtimes.load(name)
    except DeviceError:
        return False
    converter = getattr(compilers.load(name), "converter", None)
    return converter is None or converter.installed


if __name__ == "__main__":
    main()
