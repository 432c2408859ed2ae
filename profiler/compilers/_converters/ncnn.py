"""pnnx, and what it forgets: which node of the ONNX model a layer computes is found by the values of a run of both."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.errors import InvalidModel, UnsupportedOperator
from profiler.compilers._converters import _ncnn_int8
from profiler.compilers.converters import serve

#: pnnx takes a second for a network of the spaces.
PATIENCE_S = 300.0
#: pnnx 20261020 dies of some models now and then (a network of nasbench201 in 5 of 16 runs); else it writes the same.
ATTEMPTS = 10
#: How far the outputs may be from those of ONNX Runtime, as a share of the largest: Winograd's transforms round.
MOST_DEVIATION = 1e-2
#: And how near two values must be to be the same one.
SAME = 1e-3
#: Elements that are compared first.
_SAMPLE = 64
#: It said what is wrong before it died, and will again.
_FOR_GOOD = re.compile(r"CreateSession failed|read_proto_from_binary failed")
_LACKS = re.compile(r"No Op registered for (\S+)|(\S+) is not a registered function/op")


def convert(model: Path, made: Path, options: dict[str, Any]) -> None:
    """Write `made` with its `.bin` and `.json`.

    Args:
        model: ONNX with fixed shapes.
        made: the `.param` that is written.
        options: `inputs` and `outputs`: name, shape and element type of each; for int8 `calibration`, an `.npz` with
            each input's sets stacked along a new first axis.

    Raises:
        InvalidModel: pnnx refuses the model, or makes something else of it.
        UnsupportedOperator: ncnn has no layer for an operator.
    """
    sets = options.pop("calibration", None)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "model.onnx"
        _write_for_pnnx(model, copy)
        said = _pnnx(copy)
        param, code = copy.with_name("model.ncnn.param"), copy.with_name("model_ncnn.py")
        if not param.exists():
            raise _refusal(said)
        _require_layers(param.read_text())
        batches = _batches(code.read_text())
        for kind, short in (("inputs", "in"), ("outputs", "out")):
            options[kind] = [[*value, batches.get(f"{short}{i}")] for i, value in enumerate(options[kind])]
        names = _names(copy, param, options)
        text, weights = param.read_text(), param.with_suffix(".bin").read_bytes()
        if sets is not None:
            text, weights = _ncnn_int8.quantise(text, weights, _magnitudes(param, options, Path(sets)))
        made.write_text(text)
        made.with_suffix(".bin").write_bytes(weights)
    made.with_suffix(".json").write_text(json.dumps({**options, "names": names}))


def _write_for_pnnx(model: Path, copy: Path) -> None:
    """The model, with what older versions of ONNX leave open written out.

    Before version 4 of the format weights may be inputs, too: of these pnnx computes no constants, and fails. Before
    operator set 13 a softmax is over axis 1 unless it says otherwise, where pnnx takes the last one.
    """
    import onnx

    proto = onnx.load(model)
    weights = {weight.name for weight in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    proto.ir_version = max(proto.ir_version, 4)
    if any(one.domain in ("", "ai.onnx") and one.version < 13 for one in proto.opset_import):
        for node in proto.graph.node:
            if node.op_type in ("Softmax", "LogSoftmax") and not node.attribute:
                node.attribute.append(onnx.helper.make_attribute("axis", 1))
    onnx.save(proto, copy)


def _pnnx(model: Path) -> str:
    """Run the program of the package, which itself would import torch; what it said.

    Raises:
        InvalidModel: it ends without a result, or dies in all attempts.
        UnsupportedOperator: it has not an operator.
    """
    found = importlib.util.find_spec("pnnx")
    if found is None or not found.submodule_search_locations:
        raise InvalidModel("pnnx is not in the converter's environment")
    program = Path(found.submodule_search_locations[0]) / "pnnx"
    said = ""
    for _ in range(ATTEMPTS):
        done = subprocess.run(
            [str(program), str(model), "fp16=0"],
            cwd=model.parent, capture_output=True, text=True, errors="replace", check=False, timeout=PATIENCE_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        said = f"{done.stdout}\n{done.stderr}\npnnx ended with {done.returncode}"
        if done.returncode == 0:
            return said
        if done.returncode > 0 or _FOR_GOOD.search(said):
            break
    raise _refusal(said)


def _refusal(said: str) -> Exception:
    lacks = _LACKS.search(said)
    if lacks:
        return UnsupportedOperator(f"pnnx has no operator {lacks[1] or lacks[2]}")
    lines = [line for line in said.splitlines() if "failed" in line or "rror" in line] or said.splitlines()[-1:]
    return InvalidModel(re.sub(r"\x1b\[[\d;]*m", "", lines[-1]))


def _require_layers(param: str) -> None:
    """What pnnx does not know how to write for ncnn it leaves under a name of torch's."""
    import ncnn

    types = dict.fromkeys(line.split()[0] for line in param.splitlines()[2:] if line.strip())
    lacking = [kind for kind in types if ncnn.layer_to_index(kind) < 0]
    if lacking:
        raise UnsupportedOperator(f"ncnn has no layer for {', '.join(lacking)}")


def _batches(code: str) -> dict[str, int | None]:
    """Which dimension of an input or output is the batch, from the example that pnnx writes."""
    found: dict[str, int | None] = {}
    for line in code.splitlines():
        value = re.search(r'ex\.input\("(in\d+)"|from_numpy\((out\d+)\.numpy', line)
        if value:
            batch = re.search(r"batch_index=(\d+)", line)
            found[value[1] or value[2]] = int(batch[1]) if batch else None
    return found


def _names(model: Path, param: Path, described: Mapping[str, Any]) -> dict[str, str]:
    """Names of nodes by those of layers, as far as both compute the same value.

    Raises:
        InvalidModel: the outputs are not those of the model.
    """
    rng = np.random.default_rng(0)
    feed = {
        name: rng.standard_normal(shape).astype(dtype) if dtype == "float32" else rng.integers(0, 2, shape, dtype)
        for name, shape, dtype, _ in described["inputs"]
    }
    expected, nodes = _onnx_values(model, feed)
    by_size: dict[int, list[str]] = {}
    for name in nodes:
        by_size.setdefault(expected[name].size, []).append(name)
    named: dict[str, str] = {}
    taken: set[str] = set()
    last: dict[str, Any] = {}
    for layer, blob, value in _ncnn_values(param, described, feed):
        last[blob] = value
        same = [name for name in by_size.get(value.size, ()) if _is_same(value, expected[name])]
        if same:
            first = next((name for name in same if name not in taken), same[0])
            taken.add(first)
            named.setdefault(layer, nodes[first])
    _require_same(last, [expected[name] for name, *_ in described["outputs"]])
    return named


def _onnx_values(model: Path, feed: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """All values that are computed, and the names of the nodes that write them, in order."""
    import onnx
    import onnxruntime as ort

    proto = onnx.load(model)
    nodes = {name: node.name or name for node in proto.graph.node for name in node.output if name}
    known = {value.name for value in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in nodes if name not in known)
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level, settings.intra_op_num_threads = 4, 1
    session = ort.InferenceSession(proto.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = dict(zip(names, session.run(names, dict(feed)), strict=True))
    return values, {name: node for name, node in nodes.items() if isinstance(values[name], np.ndarray)}


def _ncnn_values(param: Path, described: Mapping[str, Any], feed: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Names of each layer and of what it writes, and the value, layer by layer."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = 1, False
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
        setattr(net.opt, f"use_{name}", False)
    if net.load_param(str(param)) or net.load_model(str(param.with_suffix(".bin"))):
        raise InvalidModel("ncnn cannot load what pnnx wrote")
    extractor = net.create_extractor()
    given = {f"in{i}": (feed[name], batch) for i, (name, _, _, batch) in enumerate(described["inputs"])}
    for name in net.input_names():
        array, batch = given[name]
        array = np.ascontiguousarray(array, dtype=np.int32 if array.dtype.kind == "i" else np.float32)
        extractor.input(name, ncnn.Mat(array) if batch is None else ncnn.Mat(array, batch_index=batch))
    ends = {f"out{i}": batch for i, (*_, batch) in enumerate(described["outputs"])}
    blobs = net.blobs()
    for layer in net.layers():
        for top in layer.tops:
            code, value = extractor.extract(top)
            if code:
                raise InvalidModel(f"ncnn cannot run {layer.type} {layer.name}: code {code}")
            batch = ends.get(blobs[top].name, 0)
            yield layer.name, blobs[top].name, np.array(value.numpy(batch_index=0 if batch is None else batch))


def _magnitudes(param: Path, described: Mapping[str, Any], sets: Path) -> dict[str, float]:
    """The largest magnitude of each value over all sets, by name."""
    found: dict[str, float] = {}
    with np.load(sets, allow_pickle=False) as file:
        stacked = {name: file[name] for name in file.files}
    for number in range(len(next(iter(stacked.values())))):
        feed = {name: array[number] for name, array in stacked.items()}
        for _, blob, value in _ncnn_values(param, described, feed):
            found[blob] = max(found.get(blob, 0.0), float(np.abs(value).max(initial=0.0)))
    return found


def _is_same(one: Any, other: Any) -> bool:
    if other.dtype != np.float32:
        return False
    one, other = one.ravel(), other.ravel()
    step = max(one.size // _SAMPLE, 1)
    return _deviation(one[::step], other[::step]) <= SAME * 10 and _deviation(one, other) <= SAME


def _deviation(one: Any, other: Any) -> float:
    if not one.size:
        return 0.0
    return float(np.abs(one - other).max() / max(float(np.abs(other).max()), 1e-12))


def _require_same(found: Mapping[str, Any], expected: Sequence[Any]) -> None:
    for number, wanted in enumerate(expected):
        if wanted.dtype != np.float32 or not np.isfinite(wanted).all():
            continue
        got = found.get(f"out{number}")
        far = _deviation(got.ravel(), wanted.ravel()) if got is not None and got.size == wanted.size else np.inf
        if not far <= MOST_DEVIATION:
            raise InvalidModel(f"ncnn computes something else than the model: output {number} is {far:.2g} away")


if __name__ == "__main__":
    serve(convert)
