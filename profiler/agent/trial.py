"""A model is loaded and run once in a process of its own: what it says, and the shapes that it shows.

Loading a stranger's file can end the process that does it; here that costs nothing. Standard library, numpy and the
runtime alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

#: Names of element types as ONNX Runtime writes them, by numpy's.
_TYPES = {
    "float32": "tensor(float)", "float64": "tensor(double)", "object": "tensor(string)",
    **{f"{sign}int{bits}": f"tensor({sign}int{bits})" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float16": "tensor(float16)", "bool": "tensor(bool)",
}  # fmt: skip
#: Types whose numbers decide what reads them, and how many of them are told.
_NUMBERS = frozenset({"tensor(int64)", "tensor(int32)", "tensor(bool)"})
MOST_VALUES = 64
_ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Do what `job.json` of the given folder says and write `result.json` there; 0 if it could be written."""
    folder = Path(arguments[0])
    job = json.loads((folder / "job.json").read_text())
    result = {"fuse": fuse, "fuse_all": fuse_all, "expected": expected, "run": run}[job["do"]](folder, job)
    (folder / "result.json").write_text(json.dumps(result))
    return 0


def apart(folder: Path, patience_s: float) -> tuple[dict[str, Any] | None, str]:
    """Run `main` on a folder in a process of its own: the result, or None and how it ended."""
    command = [sys.executable, "-m", "profiler.agent.trial", str(folder)]
    try:
        done = subprocess.run(
            command, cwd=_ROOT, capture_output=True, stdin=subprocess.DEVNULL, timeout=patience_s, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"it took more than {patience_s:.0f} s"
    path = folder / "result.json"
    if done.returncode != 0 or not path.exists():
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"code {done.returncode}"]
        return None, f"the runtime ended with it ({'signal' if done.returncode < 0 else 'error'} {last[0]})"
    result: dict[str, Any] = json.loads(path.read_text())
    return result, ""


def fuse(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """The model as the runtime optimises it, in `fused.onnx`."""
    from device_profiles.errors import HwnasError
    from profiler import runtimes
    from profiler.runtimes.protocol import RuntimeOptions

    try:
        fused = runtimes.load(job["runtime"]).fuse(folder / job["model"], RuntimeOptions(**job["options"]))
    except HwnasError as error:
        return {"error": error.message, "hint": error.hint, "kind": type(error).__name__}
    if fused is not None:
        (folder / "fused.onnx").write_bytes(fused)
    return {"error": "", "fused": fused is not None}


def fuse_all(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Many models, each as the runtime optimises it and keeps it; what it refuses is left out."""
    for model in job["models"]:
        fuse(folder, {**job, "model": model})
    return {}


def run(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Run with each set of inputs until one works; the types and shapes of the values asked for."""
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    try:
        session = _session(folder / job["model"], ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    except Exception as error:  # onnxruntime raises a dozen private types that share no base but Exception
        return {"worked": None, "error": str(error), "loaded": False}
    words = ""
    for number, names in enumerate(job["attempts"]):
        with np.load(folder / f"inputs{number}.npz", allow_pickle=False) as file:
            arrays = {name: file[f"arr_{i}"] for i, name in enumerate(names)}
        try:
            tensors, values = _run(session, arrays, job["record"])
        except Exception as error:  # as above
            words = words or str(error)
            continue
        optimised = True
        if (folder / "optimise.onnx").exists():
            try:
                _session(folder / "optimise.onnx", ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
            except Exception:  # as above
                optimised = False
        return {
            "worked": number, "error": "", "tensors": tensors, "values": values, "loaded": True, "optimised": optimised,
        }  # fmt: skip
    return {"worked": None, "error": words, "loaded": True}


def expected(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Sets of inputs, each with the outputs that are computed of it, in `expected.npz`."""
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    arrays: list[Any] = []
    try:
        session = _session(folder / job["model"], ort.GraphOptimizationLevel.ORT_ENABLE_BASIC)
        for number in range(job["sets"]):
            with np.load(folder / f"inputs{number}.npz", allow_pickle=False) as file:
                inputs = [file[f"arr_{position}"] for position in range(len(job["names"]))]
            outputs = session.run(None, dict(zip(job["names"], inputs, strict=True)))
            arrays += [*inputs, *outputs]
        with (folder / "expected.npz").open("wb") as made:
            np.savez(made, *arrays)
    except Exception as error:  # as above
        return {"error": str(error) or type(error).__name__}
    return {"error": ""}


def _session(model: Path, level: Any) -> Any:
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.graph_optimization_level = level
    settings.log_severity_level = 4
    return ort.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])


def _run(
    session: Any, arrays: dict[str, Any], record: list[str]
) -> tuple[dict[str, list[Any]], dict[str, list[int | float]]]:
    """Shape and type of each value asked for that is a tensor, and the numbers of small ones."""
    import onnxruntime as ort

    names = record or [output.name for output in session.get_outputs()]
    if any(array.dtype.kind == "U" for array in arrays.values()):  # text goes in as numpy's objects alone
        feed = {name: array.astype(object) if array.dtype.kind == "U" else array for name, array in arrays.items()}
        results = {n: v for n, v in zip(names, session.run(names, feed), strict=True) if isinstance(v, np.ndarray)}
        return {n: [list(v.shape), _TYPES.get(str(v.dtype), "tensor(string)")] for n, v in results.items()}, {}
    given = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
    found = dict(zip(names, session.run_with_ort_values(names, given), strict=True))
    found = {name: value for name, value in found.items() if value.has_value() and value.is_tensor()}
    return (
        {name: [list(value.shape()), value.data_type()] for name, value in found.items()},
        {
            name: value.numpy().ravel().tolist()
            for name, value in found.items()
            if value.data_type() in _NUMBERS and int(np.prod(value.shape())) <= MOST_VALUES
        },
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
