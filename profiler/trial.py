"""Trials of models: loaded, run or compiled in a process of their own, within a time."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles import errors
from device_profiles.errors import HwnasError, InvalidModel
from profiler.agent.trial import apart
from profiler.operators import Tensor
from profiler.runtimes.protocol import RuntimeOptions
from profiler.transports.remote import RemoteTransport

#: A model that takes longer to load and run once is not tried any further.
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Trial:
    """What came of running a model once.

    Attributes:
        worked: which set of inputs it ran with, or None.
        tensors: the values asked for that are tensors.
        error: the runtime's words where it did not work.
        loaded: whether it could at least be loaded.
        values: numbers of those of them that are small and whole.
        optimised: whether the other form of it that was given can be loaded and optimised.
    """

    worked: int | None
    tensors: Mapping[str, Tensor]
    error: str = ""
    loaded: bool = True
    optimised: bool = True
    values: Mapping[str, Sequence[int | float]] = field(default_factory=dict)


def run_once(
    model: bytes,
    attempts: Sequence[Mapping[str, NDArray[Any]]],
    record: Sequence[str] = (),
    *,
    optimise: bytes | None = None,
    patience_s: float = PATIENCE_S,
) -> Trial:
    """Run a model under ONNX Runtime, unoptimised, with the first set of inputs that works.

    Args:
        model: serialised ONNX; its inputs may have free dimensions.
        attempts: sets of inputs, in the order in which they are tried.
        record: names of values inside whose types and shapes are wanted.
        optimise: the form of the model that is to be measured: it is loaded and optimised too.
        patience_s: it is stopped after this.
    """
    import onnx

    proto = onnx.ModelProto.FromString(model)
    known = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in record if name not in known)
    with tempfile.TemporaryDirectory(prefix="hwnas-trial-") as place:
        folder = Path(place)
        (folder / "model.onnx").write_bytes(proto.SerializeToString())
        for number, inputs in enumerate(attempts):
            save_inputs(folder / f"inputs{number}.npz", inputs)
        if optimise is not None:
            (folder / "optimise.onnx").write_bytes(optimise)
        job = {"do": "run", "model": "model.onnx", "attempts": [list(a) for a in attempts], "record": list(record)}
        result, died = _process(folder, job, patience_s)
    if result is None:
        return Trial(None, {}, died, loaded=False)
    tensors = {name: Tensor(tuple(shape), _dtype(kind)) for name, (shape, kind) in result.get("tensors", {}).items()}
    return Trial(
        result["worked"],
        tensors,
        _plain(result["error"]),
        result["loaded"],
        result.get("optimised", True),
        result.get("values", {}),
    )


def fuse(
    model: Path,
    runtime: str,
    options: RuntimeOptions,
    *,
    patience_s: float = PATIENCE_S,
    device: RemoteTransport | None = None,
) -> bytes | None:
    """`Runtime.fuse` in a process of its own, on this machine or on a device.

    Raises:
        InvalidModel: the runtime refuses the model, or dies of it.
        LinkLost: the link to the device is gone.
    """
    job = _job("fuse", runtime, options)
    if device is not None:
        files = {path.name: path for path in model.parent.glob(f"{model.stem}.*")} if model.suffix != ".onnx" else {}
        result, died, content = device.trial({**job, "model": model.name}, {**files, model.name: model}, patience_s)
    else:
        with tempfile.TemporaryDirectory(prefix="hwnas-trial-") as place:
            result, died = _process(Path(place), {**job, "model": str(model)}, patience_s)
            made = Path(place) / "fused.onnx"
            content = made.read_bytes() if made.exists() else b""
    if result is None:
        raise InvalidModel(f"{runtime} cannot compile {model.name}: {died}", hint="Export it again.")
    if result["error"]:
        kind = getattr(errors, result["kind"], InvalidModel)
        raise kind(result["error"], hint=result["hint"]) if issubclass(kind, HwnasError) else InvalidModel("")
    return content if result["fused"] else None


def fuse_beforehand(models: Sequence[Path], runtime: str, options: RuntimeOptions, *, patience_s: float) -> None:
    """`Runtime.fuse` of many in a process of its own, for what the runtime keeps of it; what fails, fails again later.

    Args:
        models: what the compiler made of them.
        runtime: one that keeps what it compiles.
        options: for it.
        patience_s: for each of them.
    """
    job = {**_job("fuse_all", runtime, options), "models": [str(path) for path in models]}
    with tempfile.TemporaryDirectory(prefix="hwnas-trial-") as place:
        _process(Path(place), job, patience_s * len(models))


def _job(do: str, runtime: str, options: RuntimeOptions) -> dict[str, Any]:
    return {"do": do, "runtime": runtime, "options": {**asdict(options), "options": dict(options.options)}}


def expected(
    model: Path, sets: Sequence[Mapping[str, NDArray[Any]]], made: Path, *, patience_s: float = PATIENCE_S
) -> bool:
    """Write sets of inputs with what ONNX Runtime computes of them, as `profiler.agent.job.Candidate.expected` says.

    Args:
        model: an ONNX file.
        sets: inputs by name.
        made: the file.
        patience_s: it is given up after this.

    Returns:
        Whether it could be run.
    """
    with tempfile.TemporaryDirectory(prefix="hwnas-trial-") as place:
        folder = Path(place)
        for number, inputs in enumerate(sets):
            save_inputs(folder / f"inputs{number}.npz", inputs)
        job = {"do": "expected", "model": str(model.resolve()), "names": list(sets[0]), "sets": len(sets)}
        result, _ = _process(folder, job, patience_s)
        if result is None or result["error"]:
            return False
        shutil.move(folder / "expected.npz", made)
    return True


def save_inputs(path: Path, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Arrays by position, since names of inputs may be anything; text as numpy's fixed width, which is no pickle."""
    with path.open("wb") as file:
        np.savez(file, *(a.astype(np.str_) if a.dtype.kind == "O" else a for a in inputs.values()))


def _process(folder: Path, job: Mapping[str, Any], patience_s: float) -> tuple[dict[str, Any] | None, str]:
    """The result, or None and how the process ended."""
    (folder / "job.json").write_text(json.dumps(job))
    return apart(folder, patience_s)


def _plain(words: str) -> str:
    """The runtime's words without the places of its own source."""
    return " ".join(words.split())[:600]


def _dtype(kind: str) -> str:
    """`tensor(float)` as `float32`."""
    inner = kind.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(inner, inner)
