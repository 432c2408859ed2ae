"""ONNX Runtime: its own fused graph, its profile, its options, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from device_profiles.errors import (
    DeviceError,
    HwnasError,
    InvalidModel,
    UnsupportedOperator,
    UsageError,
    WrongPrecision,
)
from device_profiles.profile import load
from profiler import compilers, runtimes
from profiler.compilers import _quantised
from profiler.fusing import fused_graph, read_fused
from profiler.onnx_graph import read_graph
from profiler.proofs import require_precision
from profiler.runtimes.protocol import Profile, RuntimeOptions
from profiler.testing import convolution

Make = Callable[..., Any]
RUNTIME = runtimes.load("onnxruntime")
LEVELS = {
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


def value(name: str, shape: Sequence[Any], dtype: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def model_of(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: Sequence[Any] = ()) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[bytes], Path]:
    def save(content: bytes) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        return path

    return save


@pytest.fixture
def small(onnx_model: Make) -> Any:
    """Convolutions with activations, pooling and a classifier, without the shapes in between."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "v"], ["c"], name="second", kernel_shape=[3, 3], pads=[1] * 4, group=16),
        helper.make_node("Sigmoid", ["c"], ["d"], name="sigmoid"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], name="mean"),
        helper.make_node("Flatten", ["e"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "u"], ["y"], name="classify"),
    ]
    return onnx_model(
        nodes, {"x": (1, 3, 16, 16)}, {"y": (1, 10)}, {"w": (16, 3, 3, 3), "v": (16, 1, 3, 3), "u": (16, 10)}
    )


@pytest.fixture
def network(small: Any, saved: Callable[[bytes], Path]) -> Path:
    return saved(onnx.shape_inference.infer_shapes(small).SerializeToString())


def optimised(path: Path, level: str, folder: Path) -> Any:
    """What ONNX Runtime itself saves."""
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = LEVELS[level]
    settings.optimized_model_filepath = str(folder / "own.onnx")
    settings.log_severity_level = 4
    onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "own.onnx")


def kinds(nodes: Any) -> list[tuple[str, str, str]]:
    return [(node.name, node.domain, node.op_type) for node in nodes]


# -- the fused graph


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_the_fused_graph_is_the_runtimes_own(network: Path, tmp_path: Path, level: str) -> None:
    fused = RUNTIME.fuse(network, RuntimeOptions(optimisation=level))
    assert fused is not None
    own = optimised(network, level, tmp_path)
    assert kinds(onnx.ModelProto.FromString(fused).graph.node) == kinds(own.graph.node)
    target = load("local-onnxruntime")
    target = target.model_copy(update={"runtime": target.runtime.model_copy(update={"optimisation": level})})
    graph = fused_graph(network, target)
    assert graph.runtime == "onnxruntime"
    assert [(node.name, node.operator.op_type) for node in graph.nodes] == [
        (node.name, node.op_type) for node in own.graph.node
    ]


def test_the_level_of_optimisation_is_obeyed(network: Path) -> None:
    found = {level: read_graph(RUNTIME.fuse(network, RuntimeOptions(optimisation=level)) or b"") for level in LEVELS}
    captured = read_graph(network)
    assert found["none"].operators == captured.operators
    assert "Relu" not in {operator.op_type for operator in found["all"].operators}, "fused into its convolution"
    assert len(found["all"].nodes) < len(captured.nodes)
    assert all(operator.domain == "" for operator in found["basic"].operators), "basic is within ONNX's own operators"


def test_a_model_without_the_shapes_in_between_is_fused_and_read(small: Any, saved: Callable[[bytes], Path]) -> None:
    graph = fused_graph(saved(small.SerializeToString()), load("local-onnxruntime"))
    shapes = {node.outputs[0]: node.operator.outputs[0].shape for node in graph.nodes}
    assert shapes["f"] == (1, 16) and shapes["y"] == (1, 10)


def test_nothing_is_left_behind(network: Path, tmp_path: Path) -> None:
    RUNTIME.fuse(network, RuntimeOptions())
    session = RUNTIME.load(network, RuntimeOptions())
    session.profile(2)
    session.close()
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


# -- the profile


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_the_profile_speaks_of_the_fused_nodes_by_name(network: Path, level: str) -> None:
    options = RuntimeOptions(optimisation=level)
    profile = RUNTIME.load(network, options).profile(5)
    assert isinstance(profile, Profile)
    fused = onnx.ModelProto.FromString(RUNTIME.fuse(network, options) or b"").graph.node
    assert [(kernel.node, kernel.op_type) for kernel in profile.kernels] == [(n.name, n.op_type) for n in fused]
    assert all(kernel.runs == 5 and kernel.mean_ns >= 0 for kernel in profile.kernels)
    assert profile.allocator_peak_bytes is None or profile.allocator_peak_bytes > 0


def test_the_most_expensive_kernel_has_the_most_time(onnx_model: Make, saved: Callable[[bytes], Path]) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="large"),
        helper.make_node("MatMul", ["a", "v"], ["y"], name="small"),
    ]
    model = onnx_model(nodes, {"x": (256, 512)}, {"y": (256, 1)}, {"w": (512, 512), "v": (512, 1)})
    profile = RUNTIME.load(saved(model.SerializeToString()), RuntimeOptions()).profile(5)
    assert profile is not None
    times = {kernel.node.split("_")[0]: kernel.mean_ns for kernel in profile.kernels}
    assert times["large"] > times["small"]


def test_a_profile_does_not_touch_the_timed_session(network: Path) -> None:
    session = RUNTIME.load(network, RuntimeOptions())
    before = session.outputs()
    session.profile(2)
    assert np.array_equal(session.outputs()[0], before[0])


# -- options


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list threads")
def test_the_threads_are_those_asked_for(network: Path) -> None:
    RUNTIME.load(network, RuntimeOptions(threads=1)).close()
    before = threads()
    one = RUNTIME.load(network, RuntimeOptions(threads=1))
    assert threads() == before, "the caller is the one thread"
    three = RUNTIME.load(network, RuntimeOptions(threads=3))
    assert threads() == before + 2
    assert np.allclose(one.outputs()[0], three.outputs()[0], atol=1e-5)
    three.close()
    assert threads() == before


@pytest.mark.parametrize(("given", "passed"), [({}, "1"), ({"spinning": 0}, "0"), ({"spinning": 1}, "1")])
def test_spinning_is_passed_on(
    network: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, int], passed: str
) -> None:
    seen = []
    original = onnxruntime.InferenceSession

    def spy(model: str, settings: Any, **more: Any) -> Any:
        seen.append(settings.get_session_config_entry("session.intra_op.allow_spinning"))
        return original(model, settings, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    RUNTIME.load(network, RuntimeOptions(options=given)).run()
    assert seen == [passed]


@pytest.mark.parametrize(
    "options",
    [
        RuntimeOptions(optimisation="extreme"),
        RuntimeOptions(precision="int4"),
        RuntimeOptions(precision="fp61"),
        RuntimeOptions(options={"spining": 0}),
        RuntimeOptions(options={"spinning": "now and then"}),
        RuntimeOptions(options={"format": "tflite"}),
    ],
    ids=[
        "optimisation",
        "precision-it-does-not-convert-to",
        "unknown-precision",
        "unknown-option",
        "unknown-value",
        "format",
    ],
)
def test_what_it_does_not_offer_is_refused_by_name(network: Path, options: RuntimeOptions) -> None:
    """A setting that is quietly ignored would be part of the conditions of numbers that it did not shape."""
    for work in (RUNTIME.load, RUNTIME.fuse):
        with pytest.raises(UsageError) as caught:
            work(network, options)
        named = (options.optimisation, options.precision, *map(str, options.options))
        assert any(name in caught.value.message for name in named) and caught.value.hint


def test_an_ort_file_has_the_layout_of_its_platform(network: Path) -> None:
    """Without a platform it is that of Arm: other kernels, and another key."""
    kinds = {}
    for platform in ("amd64", "arm"):
        options = RuntimeOptions(options={"format": "ort", "platform": platform})
        made = compilers.load("onnxruntime").compile(network, options)
        assert made.suffix == ".ort"
        session = RUNTIME.load(made, options)
        graph = read_fused(RUNTIME.fuse(made, options) or b"", "onnxruntime")
        profile = session.profile(2)
        assert profile is not None
        assert [k.op_type for k in profile.kernels] == [node.operator.op_type for node in graph.nodes]
        plain = RUNTIME.load(network, RuntimeOptions()).outputs()
        assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(session.outputs(), plain, strict=True))
        kinds[platform] = {node.operator.domain for node in graph.nodes}
    assert "com.microsoft.nchwc" in kinds["amd64"] and "com.microsoft.nchwc" not in kinds["arm"]


def test_entries_of_the_session_are_options(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = onnxruntime.InferenceSession

    def spy(model: str, settings: Any, **more: Any) -> Any:
        seen.append(settings.get_session_config_entry("session.set_denormal_as_zero"))
        return original(model, settings, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    RUNTIME.load(network, RuntimeOptions(options={"session.set_denormal_as_zero": 1})).run()
    assert seen == ["1"]


def test_a_provider_that_the_build_lacks_is_refused(network: Path) -> None:
    with pytest.raises(DeviceError, match="has no provider NoSuch; it has") as caught:
        RUNTIME.load(network, RuntimeOptions(options={"provider": "NoSuch"}))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"provider_package": "no-such-provider==1.0"}, DeviceError, "no-such-provider is not installed"),
        ({"provider_package": "numpy==0.1"}, DeviceError, "brings no provider"),
        ({"provider_package": "onnxruntime-ep-openvino"}, UsageError, "and its version"),
        ({"provider_package": "/tmp/library.so"}, UsageError, "and its version"),
        ({"provider_device": "TPU"}, UsageError, "CPU, GPU or NPU"),
        ({"provider.num_of_threads": 1}, UsageError, "for plug-in providers"),
    ],
)
def test_plug_in_providers_that_cannot_be_had_are_refused(network: Path, options: Any, kind: Any, words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        RUNTIME.load(network, RuntimeOptions(options={"provider": "OpenVINO", **options}))
    assert caught.value.hint


def test_another_version_of_a_plug_in_provider_is_refused(network: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "own_provider.py").write_text("def get_library_path():\n    return '/nowhere/library.so'\n")
    place = tmp_path / "own_provider-2.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: own-provider\nVersion: 2.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    for package, words in (("own-provider==1.0", "2.0 is installed"), ("own-provider==2.0", "cannot be loaded")):
        with pytest.raises(DeviceError, match=words):
            RUNTIME.load(network, RuntimeOptions(options={"provider": "Own", "provider_package": package}))


PLUGGED = """
import sys
from pathlib import Path
import numpy as np
from device_profiles.errors import HwnasError
from profiler.runtimes.onnxruntime import OnnxRuntime
from profiler.runtimes.protocol import RuntimeOptions
runtime, model = OnnxRuntime(), Path(sys.argv[1])
options = {"provider": "OpenVINO", "provider_package": sys.argv[2], "provider.load_config": sys.argv[3]}
session = runtime.load(model, RuntimeOptions(options={**options, "provider.num_of_threads": 1}))
plain = runtime.load(model, RuntimeOptions()).outputs()
far = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(session.outputs(), plain, strict=True))
print(far, session.profile(2), runtime.fuse(model, RuntimeOptions(options=options)))
try:
    runtime.load(model, RuntimeOptions(options={**options, "provider_device": "NPU"}))
except HwnasError as error:
    print(error.message)
"""


@pytest.mark.slow
def test_a_plug_in_provider_runs_all_nodes(network: Path, tmp_path: Path) -> None:
    """A real one, of a package that is installed beside."""
    package = "onnxruntime-ep-openvino==1.8.1"
    installed = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "beside")]
    if subprocess.run([*installed, package], check=False, capture_output=True).returncode:
        pytest.skip(f"{package} cannot be installed here")
    path = os.pathsep.join([str(tmp_path / "beside"), str(Path(__file__).parents[2])])
    own = json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": "f32"}})
    done = subprocess.run(
        [sys.executable, "-c", PLUGGED, str(network), package, own],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, refused = done.stdout.strip().splitlines()
    far, profile, fused = found.split()
    assert float(far) < 1e-3 and profile == fused == "None"
    assert "has no NPU here; it has CPU" in refused


def test_nodes_on_another_provider_are_a_failure(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fallback that nobody noticed would be called an accelerator's number."""
    original = onnxruntime.InferenceSession

    def on_the_cpu(model: str, settings: Any, providers: Any) -> Any:
        return original(model, settings, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["FastExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", on_the_cpu)
    with pytest.raises(WrongPrecision, match="run on CPUExecutionProvider, not on FastExecutionProvider") as caught:
        RUNTIME.load(network, RuntimeOptions(options={"provider": "Fast"}))
    assert caught.value.hint


def test_int8_computes_nearly_the_same_and_proves_it(network: Path) -> None:
    options = RuntimeOptions(precision="int8")
    made = compilers.load("onnxruntime").compile(network, options)
    graph = read_fused(RUNTIME.fuse(made, options) or b"", "onnxruntime")
    require_precision(graph, "int8", read_graph(network), "network")
    with pytest.raises(WrongPrecision, match="in int8"):
        require_precision(graph, "fp32", read_graph(network), "network")
    plain, quantised = RUNTIME.load(network, RuntimeOptions()).outputs(), RUNTIME.load(made, options).outputs()
    assert all(np.abs(a - b).max() < 0.05 * np.abs(a).max() for a, b in zip(plain, quantised, strict=True))


def older(opset: int) -> bytes:
    """A convolution and a product in an operator set of before scales for each channel."""
    rng = np.random.default_rng(0)
    weights = {"w": (4, 3, 3, 3), "b": (4,), "m": (4, 5)}
    held = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in weights.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Squeeze", ["p"], ["f"], axes=[2, 3]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (1, 3, 8, 8)), ("y", (1, 5)))]
    graph = helper.make_graph(nodes, "older", values[:1], values[1:], held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)
    return bytes(made.SerializeToString())


@pytest.mark.parametrize("opset", [10, 11, 12])
def test_models_of_older_operator_sets_run_in_int8(saved: Callable[[bytes], Path], opset: int) -> None:
    path, options = saved(older(opset)), RuntimeOptions(precision="int8")
    made = compilers.load("onnxruntime").compile(path, options)
    require_precision(read_fused(RUNTIME.fuse(made, options) or b"", "onnxruntime"), "int8", read_graph(path), "older")
    plain, quantised = RUNTIME.load(path, RuntimeOptions()).outputs(), RUNTIME.load(made, options).outputs()
    assert np.abs(plain[0] - quantised[0]).max() < 0.05 * np.abs(plain[0]).max()


def test_what_the_tool_cannot_quantise_as_a_whole_is_quantised_where_it_computes(
    saved: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    quantise = _quantised._quantise

    def refuses(model: Path, made: Path, sets: Any, attempt: Any) -> None:
        asked.append(attempt.kinds)
        if attempt.kinds is None:
            made.write_bytes(b"no model")
        else:
            quantise(model, made, sets, attempt)

    monkeypatch.setattr(_quantised, "_quantise", refuses)
    path = saved(older(13 - 1))
    compilers.load("onnxruntime").compile(path, RuntimeOptions(precision="int8"))
    assert asked == [None, _quantised.PRODUCTS]
    monkeypatch.setattr(_quantised, "_quantise", lambda model, made, sets, attempt: made.write_bytes(b"no model"))
    with pytest.raises(InvalidModel, match="cannot be quantised") as caught:
        compilers.load("onnxruntime").compile(path, RuntimeOptions(precision="int8"))
    assert caught.value.hint and not path.with_suffix(".int8.onnx").exists()


# -- what it computes


def mixed() -> bytes:
    """Inputs of several types, two outputs."""
    nodes = [
        helper.make_node("Where", ["choice", "x", "z"], ["a"]),
        helper.make_node("Gather", ["a", "index"], ["y"], axis=0),
        helper.make_node("ReduceSum", ["a"], ["total"], keepdims=0),
    ]
    inputs = [
        value("x", (4, 3)),
        value("choice", (4, 3), TensorProto.BOOL),
        value("z", (4, 3)),
        value("index", (5,), TensorProto.INT64),
    ]
    return model_of(nodes, inputs, [value("y", (5, 3)), value("total", ())])


def drawn(path: Path) -> dict[str, Any]:
    """Inputs as the protocol of runtimes says: in order, from one generator."""
    rng = np.random.default_rng(0)
    feed = {}
    for given in onnx.load(path).graph.input:
        shape = [dim.dim_value for dim in given.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type)
        real = np.issubdtype(dtype, np.floating)
        feed[given.name] = (rng.standard_normal(shape) if real else rng.integers(0, 2, shape)).astype(dtype)
    return feed


@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("name", ["network", "mixed"])
def test_outputs_are_those_that_onnx_defines(
    network: Path, saved: Callable[[bytes], Path], name: str, level: str
) -> None:
    path = network if name == "network" else saved(mixed())
    session = RUNTIME.load(path, RuntimeOptions(optimisation=level))
    expected = ReferenceEvaluator(str(path)).run(None, drawn(path))
    for _ in range(2):
        session.run()
        got = session.outputs()
        assert len(got) == len(expected)
        for mine, theirs in zip(got, expected, strict=True):
            assert mine.shape == np.shape(theirs)
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64])
def test_inputs_of_other_types(saved: Callable[[bytes], Path], dtype: int) -> None:
    path = saved(
        model_of([helper.make_node("Add", ["x", "x"], ["y"])], [value("x", (3,), dtype)], [value("y", (3,), dtype)])
    )
    (got,) = RUNTIME.load(path, RuntimeOptions()).outputs()
    assert got.dtype == helper.tensor_dtype_to_np_dtype(dtype)
    np.testing.assert_allclose(got, 2 * drawn(path)["x"], rtol=1e-3)


# -- what it refuses


def external(location: str) -> bytes:
    model = onnx.ModelProto.FromString(convolution())
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    content: bytes = model.SerializeToString()
    return content


def relu(shape: Sequence[Any], dtype: int = TensorProto.FLOAT) -> bytes:
    return model_of([helper.make_node("Relu", ["x"], ["y"])], [value("x", shape, dtype)], [value("y", shape, dtype)])


def identity(dtype: int) -> bytes:
    return model_of([helper.make_node("Identity", ["x"], ["y"])], [value("x", (2,), dtype)], [value("y", (2,), dtype)])


BAD = {
    "text": b"no model at all",
    "empty": b"",
    "cut": convolution()[:-20],
    "dynamic": relu(["batch", 3]),
    "lost-weights": external("weights.bin"),
    "ghost": model_of([helper.make_node("Add", ["x", "ghost"], ["y"])], [value("x", (2,))], [value("y", (2,))]),
    "wrong-shapes": model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", (2, 3))],
        [value("y", (2, 5))],
        [numpy_helper.from_array(np.zeros((4, 5), np.float32), "w")],
    ),
    "strings": identity(TensorProto.STRING),
    "uint16": identity(TensorProto.UINT16),
}


@pytest.mark.parametrize("name", sorted(set(BAD) - {"uint16"}))
def test_a_bad_model_is_refused_with_its_name(saved: Callable[[bytes], Path], name: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        RUNTIME.load(saved(BAD[name]), RuntimeOptions()).run()
    assert "model.onnx" in caught.value.message


def test_an_input_of_a_rare_type_is_drawn_or_refused_by_name(saved: Callable[[bytes], Path]) -> None:
    try:
        RUNTIME.load(saved(BAD["uint16"]), RuntimeOptions()).run()
    except HwnasError as error:
        assert "uint16" in error.message


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="nowhere"):
        RUNTIME.load(tmp_path / "nowhere.onnx", RuntimeOptions())


def test_an_operator_that_it_lacks_is_named_with_what_to_do(saved: Callable[[bytes], Path]) -> None:
    for work in (RUNTIME.load, RUNTIME.fuse):
        with pytest.raises(UnsupportedOperator) as caught:
            work(saved(convolution("NoSuchOperator")), RuntimeOptions())
        assert "NoSuchOperator" in caught.value.message
        assert caught.value.hint


def test_a_type_that_an_operator_does_not_take_is_an_unsupported_operator(saved: Callable[[bytes], Path]) -> None:
    path = saved(relu((2, 3), TensorProto.BFLOAT16))
    with pytest.raises(UnsupportedOperator, match="Relu"):
        RUNTIME.load(path, RuntimeOptions())
