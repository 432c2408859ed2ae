"""ncnn: what pnnx makes of models, layers as kernels, their times, precisions, options, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from device_profiles.errors import DeviceError, InvalidModel, UnsupportedOperator, UsageError, WrongPrecision
from device_profiles.profile import load
from profiler import Budget, Store, compilers, measure
from profiler.conditions import conditions_of
from profiler.fusing import fused_graph, read_fused
from profiler.onnx_graph import read_graph
from profiler.proofs import require_precision
from profiler.runtimes.protocol import RuntimeOptions
from profiler.testing import convolution
from profiler.work import graph_work

ncnn = pytest.importorskip("ncnn")
from profiler.compilers.ncnn import NcnnCompiler  # noqa: E402 - after what may skip
from profiler.runtimes import _ncnn  # noqa: E402
from profiler.runtimes.ncnn import Ncnn  # noqa: E402

if not NcnnCompiler.converter.installed:
    pytest.skip(NcnnCompiler.converter.command, allow_module_level=True)

Make = Callable[..., Any]
PLAIN = RuntimeOptions()
PADDED = {"kernel_shape": [3, 3], "pads": [1] * 4}


def residual(onnx_model: Make, batch: int = 1) -> Any:
    """A depthwise convolution with a residual, HardSwish, global pooling and a classifier."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "wb"], ["a"], name="stem/conv", **PADDED),
        helper.make_node("HardSwish", ["a"], ["b"], name="stem/swish"),
        helper.make_node("Conv", ["b", "v", "vb"], ["c"], name="body/depthwise", group=8, **PADDED),
        helper.make_node("Relu", ["c"], ["d"], name="body/relu"),
        helper.make_node("Conv", ["d", "u", "ub"], ["e"], name="body/point", kernel_shape=[1, 1]),
        helper.make_node("Add", ["b", "e"], ["f"], name="body/add"),
        helper.make_node("GlobalAveragePool", ["f"], ["g"], name="head/pool"),
        helper.make_node("Flatten", ["g"], ["h"], name="head/flat"),
        helper.make_node("Gemm", ["h", "k", "kb"], ["y"], name="head/gemm", transB=1),
    ]
    weights = {"w": (8, 3, 3, 3), "v": (8, 1, 3, 3), "u": (8, 8, 1, 1), "k": (5, 8)}
    biases = {"wb": (8,), "vb": (8,), "ub": (8,), "kb": (5,)}
    return onnx_model(nodes, {"x": (batch, 3, 12, 12)}, {"y": (batch, 5)}, weights | biases)


def pools(onnx_model: Make) -> Any:
    """Two kinds of pooling, joined; a convolution with groups, and one with a stride on one side."""
    window = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}
    nodes = [
        helper.make_node("MaxPool", ["x"], ["a"], name="max", **window),
        helper.make_node("AveragePool", ["x"], ["b"], name="mean", count_include_pad=0, **window),
        helper.make_node("Concat", ["a", "b"], ["c"], name="join", axis=1),
        helper.make_node("Conv", ["c", "w"], ["d"], name="grouped", group=2, **PADDED),
        helper.make_node("Conv", ["d", "v"], ["e"], name="wide", kernel_shape=[1, 3], pads=[0, 1, 0, 1]),
        helper.make_node("Sigmoid", ["e"], ["f"], name="gate"),
        helper.make_node("Mul", ["e", "f"], ["y"], name="swish"),
    ]
    return onnx_model(nodes, {"x": (1, 4, 11, 11)}, {"y": (1, 6, 6, 6)}, {"w": (6, 4, 3, 3), "v": (6, 6, 1, 3)})


def two_ends(onnx_model: Make) -> Any:
    """Two inputs, two outputs."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", **PADDED),
        helper.make_node("Mul", ["a", "z"], ["b"], name="scaled"),
        helper.make_node("Relu", ["b"], ["p"], name="positive"),
        helper.make_node("ReduceMean", ["b"], ["q"], name="mean", keepdims=1),
    ]
    return onnx_model(
        nodes, {"x": (1, 3, 6, 6), "z": (1, 8, 6, 6)}, {"p": (1, 8, 6, 6), "q": (1, 1, 1, 1)}, {"w": (8, 3, 3, 3)}
    )


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[..., Path]:
    def compile_(model: Any, options: RuntimeOptions = PLAIN) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return compilers.load("ncnn").compile(path, options)

    return compile_


def drawn(proto: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    weights = {weight.name for weight in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in inputs}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("make", [residual, lambda make: residual(make, batch=2), pools, two_ends])
@pytest.mark.parametrize("options", [{}, {"winograd": 0}, {"sgemm": 0, "packing": 0}])
def test_outputs_are_those_of_onnx(make, options, onnx_model, compiled):
    proto = make(onnx_model)
    chosen = RuntimeOptions(options=options)
    session = Ncnn().load(compiled(proto, chosen), chosen)
    expected = ReferenceEvaluator(proto).run(None, drawn(proto))
    got = session.outputs()
    assert [one.shape for one in got] == [one.shape for one in expected]
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    for _ in range(3):  # layers in place leave the inputs alone
        session.call()
    np.testing.assert_array_equal(session.outputs()[0], got[0])
    session.close()


def test_what_old_files_leave_open_is_read_as_onnx_has_it(onnx_model, compiled):
    """Weights are inputs, too, one of them is computed, and a softmax is over channels without a word."""
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["k"], value=numpy_helper.from_array(np.full(1, 0.5, np.float32))),
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv", **PADDED),
        helper.make_node("Mul", ["a", "k"], ["b"], name="scaled"),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], name="pool"),
        helper.make_node("Softmax", ["c"], ["y"], name="share"),
    ]
    proto = onnx_model(nodes, {"x": (1, 3, 6, 6)}, {"y": (1, 4, 1, 1)}, {"w": (4, 3, 3, 3)})
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1, 4, 1, 1]), "s"))
    for weight in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    proto.ir_version, proto.opset_import[0].version = 3, 9
    session = Ncnn().load(compiled(proto), PLAIN)
    said = onnx.ModelProto.FromString(proto.SerializeToString())
    said.graph.node[-1].attribute.append(helper.make_attribute("axis", 1))
    (expected,) = ReferenceEvaluator(said).run(None, drawn(proto))
    assert expected.max() < 1.0
    np.testing.assert_allclose(session.outputs()[0], expected, rtol=1e-3)
    session.close()


@pytest.mark.parametrize("make", [residual, lambda make: residual(make, batch=2), pools, two_ends])
def test_kernels_do_the_work_of_the_model(make, onnx_model, compiled):
    proto = make(onnx_model)
    path = compiled(proto)
    graph = read_fused(Ncnn().fuse(path, PLAIN), "ncnn")
    own, made = graph_work(read_graph(proto)), graph_work(graph)
    assert made.macs == own.macs > 0
    assert made.parameters >= own.parameters  # ncnn may add a bias
    session = Ncnn().load(path, PLAIN)
    profile = session.profile(4)
    assert [one.op_type for one in profile.kernels] == [node.operator.op_type for node in graph.nodes]
    assert [one.node for one in profile.kernels] == [node.name for node in graph.nodes]
    assert all(one.runs == 4 for one in profile.kernels) and profile.run_ns > 0
    session.close()


def test_kernels_are_layers_with_what_runs_with_them(onnx_model, compiled):
    graph = read_fused(Ncnn().fuse(compiled(residual(onnx_model, batch=2)), PLAIN), "ncnn")
    kinds = [node.operator.op_type for node in graph.nodes]
    assert kinds == ["Conv", "HardSwish", "Conv", "Conv", "Add", "GlobalAveragePool", "Gemm"]  # nothing that splits
    depthwise = graph.nodes[2].operator
    assert depthwise.attribute("primitive") == "ConvolutionDepthWise" and depthwise.attribute("group") == 8
    assert depthwise.attribute("fused") == ("Relu",) and depthwise.attribute("pads") == (1, 1, 1, 1)
    assert [tensor.shape for tensor in depthwise.inputs] == [(2, 8, 12, 12), (8, 1, 3, 3), (8,)]
    assert [tensor.constant for tensor in depthwise.inputs] == [False, True, True]
    assert depthwise.outputs[0].shape == (2, 8, 12, 12) and depthwise.attribute("precision") == "fp32"
    assert [node.name for node in graph.nodes] == [
        "stem/conv", "stem/swish", "body/relu", "body/point", "body/add", "head/pool", "head/gemm",
    ]  # fmt: skip
    written = {name for node in graph.nodes for name in node.outputs} | dict(graph.inputs).keys()
    read = [
        name
        for node in graph.nodes
        for name, tensor in zip(node.inputs, node.operator.inputs, strict=True)
        if not tensor.constant
    ]
    assert set(read) <= written and set(graph.outputs) <= written


def test_packing_is_seen(onnx_model, compiled):
    proto = residual(onnx_model)
    path = compiled(proto)
    packed, plain = (
        read_fused(Ncnn().fuse(path, RuntimeOptions(options={"packing": packing})), "ncnn") for packing in (1, 0)
    )
    assert {node.operator.attribute("packing") for node in plain.nodes} == {(1, 1)}
    assert packed.nodes[0].operator.attribute("packing")[1] in (4, 8)
    assert graph_work(packed) == graph_work(plain)


def in_precision(path: Path, precision: str) -> Any:
    return read_fused(Ncnn().fuse(path, RuntimeOptions(precision=precision)), "ncnn")


def test_bf16_is_proved_for_each_kernel(compiled):
    path = compiled(convolution())
    graph = in_precision(path, "bf16")
    require_precision(graph, "bf16", read_graph(convolution()), "model")
    assert graph.nodes[0].operator.outputs[0].dtype == "bfloat16"
    exact, rounded = (
        Ncnn().load(path, RuntimeOptions(precision=precision)).outputs()[0] for precision in ("fp32", "bf16")
    )
    assert 1e-5 < np.abs(exact - rounded).max() / np.abs(exact).max() < 5e-2


def test_kernels_in_another_precision_are_refused(onnx_model, compiled):
    """On x86 depthwise convolutions have no bf16, and nothing has fp16: ncnn runs them in fp32 without a word."""
    path, own = compiled(residual(onnx_model)), read_graph(residual(onnx_model))
    for precision in ("bf16", "fp16"):
        graph = in_precision(path, precision)
        said = {node.operator.attribute("precision") for node in graph.nodes if node.operator.op_type == "Conv"}
        if "fp32" in said:
            with pytest.raises(WrongPrecision, match=f"in fp32, not in {precision}"):
                require_precision(graph, precision, own, "model")


def test_weights_travel_in_fp32_under_the_names_of_the_model(onnx_model, compiled):
    proto = residual(onnx_model)
    path = compiled(proto)
    weights = sum(onnx.numpy_helper.to_array(one).nbytes for one in proto.graph.initializer)
    tags = 4 * 4  # one for the matrix of each layer
    assert path.with_suffix(".bin").stat().st_size == weights + tags
    beside = json.loads(path.with_suffix(".json").read_text())
    assert beside["inputs"] == [["x", [1, 3, 12, 12], "float32", 0]]
    assert beside["outputs"] == [["y", [1, 5], "float32", 0]]


THREADS = """
import sys, os
from pathlib import Path
from profiler.runtimes.ncnn import Ncnn
from profiler.runtimes.protocol import RuntimeOptions
session = Ncnn().load(Path(sys.argv[1]), RuntimeOptions(threads=int(sys.argv[2])))
before = len(os.listdir("/proc/self/task"))
session.run()
session.call()
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_are_those_that_are_asked_for(threads, compiled):
    path = compiled(convolution())
    done = subprocess.run(
        [sys.executable, "-c", THREADS, str(path), str(threads)], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert int(done.stdout) == threads - 1, "of its own, the caller's is there"


def test_denormals_are_computed(compiled, conv_net):
    path = compiled(conv_net())
    shape = tuple(json.loads(path.with_suffix(".json").read_text())["inputs"][0][1])
    tiny = Ncnn().load(path, PLAIN, {"x": np.full(shape, 1e-40, dtype=np.float32)}).outputs()[0]
    assert tiny.any() and np.abs(tiny).max() < np.finfo(np.float32).tiny


def test_inputs_are_given_by_name(compiled):
    path = compiled(convolution())
    with pytest.raises(InvalidModel, match="nothing for its input 'x'"):
        Ncnn().load(path, PLAIN, {"z": np.zeros((1, 3, 8, 8), np.float32)})
    with pytest.raises(InvalidModel, match=r"'x' is \[1, 3, 8, 8\], got \[1, 3, 4, 4\]"):
        Ncnn().load(path, PLAIN, {"x": np.zeros((1, 3, 4, 4), np.float32)})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (RuntimeOptions(precision="tf32"), "runs fp32, bf16, fp16, int8, got the precision 'tf32'"),
        (RuntimeOptions(options={"winograd": 2}), "winograd of the runtime ncnn must be 0 or 1"),
        (RuntimeOptions(options={"vulkan": 1}), "no option 'vulkan'; it has winograd, sgemm, packing"),
        (RuntimeOptions(optimisation="none"), "pnnx fuses always"),
    ],
)
def test_options_that_it_does_not_have_are_refused(options, words, compiled):
    with pytest.raises(UsageError, match=words):
        compiled(convolution(), options)


def test_operators_that_it_lacks_are_named(compiled, onnx_model):
    with pytest.raises(UnsupportedOperator, match="no operator NoSuchOperator"):
        compiled(convolution("NoSuchOperator"))
    nodes = [helper.make_node("Det", ["x"], ["y"], name="det")]
    with pytest.raises(UnsupportedOperator, match="ncnn has no layer for"):
        compiled(onnx_model(nodes, {"x": (1, 3, 3)}, {"y": (1,)}))


def test_models_that_it_cannot_take_are_refused(compiled, onnx_model, tmp_path):
    with pytest.raises(InvalidModel, match="is not an ONNX model"):
        compiled(b"this is no model")
    relu = [helper.make_node("Relu", ["x"], ["y"], name="relu")]
    with pytest.raises(InvalidModel, match="needs fixed shapes"):
        compiled(onnx_model(relu, {"x": ("n", 3)}, {"y": ("n", 3)}))
    wide = onnx_model(relu, {"x": (1, 3)}, {"y": (1, 3)})
    wide.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    with pytest.raises(UnsupportedOperator, match=r"'x' of model\.onnx is float64"):
        compiled(wide)
    for content in (b"\x00\xff", b"7767517\nwhat is this", b"7767517\n1 1\nInput in0 0 1 in0\n"):
        path = tmp_path / "alone.param"
        path.write_bytes(content)
        with pytest.raises(InvalidModel, match=r"alone\.param is no compiled model"):
            Ncnn().load(path, PLAIN)


def test_what_lies_beside_is_needed(compiled):
    path = compiled(convolution())
    whole = path.with_suffix(".bin").read_bytes()
    path.with_suffix(".bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidModel, match="ncnn cannot load"):
        Ncnn().load(path, PLAIN)
    path.with_suffix(".bin").write_bytes(whole)
    path.write_text(path.read_text().replace("Convolution ", "Konvolution "))
    with pytest.raises(UnsupportedOperator, match="no layer Konvolution"):
        Ncnn().load(path, PLAIN)


def test_a_missing_converter_says_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HWNAS_CONVERTERS", str(tmp_path / "converters"))
    path = tmp_path / "model.onnx"
    path.write_bytes(convolution())
    from profiler.compilers.converters import Converter

    monkeypatch.setattr(NcnnCompiler, "converter", Converter("ncnn", NcnnCompiler.converter.requirements))
    with pytest.raises(DeviceError, match="is not installed") as caught:
        compilers.load("ncnn").compile(path, PLAIN)
    assert caught.value.hint == "hwnas doctor --install ncnn"
    assert not path.with_suffix(".param").exists()


@pytest.mark.parametrize(
    ("line", "kind", "shapes"),
    [
        ("Gemm g 1 1 a b 2=0 3=1 4=0 5=1 6=1 7=4 8=6 9=5 10=4", "MatMul", [[1, 4, 5], [6, 5], [6]]),
        ("Gemm g 1 1 a b 2=1 3=0 4=1 5=0 6=0 7=6 8=5 9=4", "MatMul", [[4, 6], [1, 4, 5]]),
        ("LSTM l 1 1 a b 0=7 1=280 2=2", "LSTM", [[4, 1, 5], [2, 28, 5], [2, 28, 7], [2, 56]]),
        ("Embed e 1 1 a b 0=8 1=100 2=0 3=800", "Gather", [[100, 8], [1, 4, 5]]),
        ("LayerNorm n 1 1 a b 0=5 1=1e-5 2=1", "LayerNormalization", [[1, 4, 5], [5], [5]]),
        ("InnerProduct i 1 1 a b 0=6 1=1 2=30", "MatMul", [[1, 4, 5], [5, 6], [6]]),
        ("InnerProduct i 1 1 a b 0=6 1=0 2=120", "Gemm", [[1, 20], [6, 20]]),
        ("Convolution1D c 1 1 a b 0=8 1=3 5=1 6=96", "Conv", [[1, 4, 5], [8, 4, 3], [8]]),
        ("Slice s 1 2 a b c -23300=2,-233,-233 1=0", "Split", [[1, 4, 5]]),
        ("BinaryOp m 1 1 a b 0=2 1=1 2=2.5", "Mul", [[1, 4, 5], []]),
    ],
)
def test_layers_in_the_words_of_onnx(line, kind, shapes):
    (layer,) = _ncnn.layers(f"{_ncnn.MAGIC}\n1 1\n{line}\n")
    made = _ncnn.kernel(layer, [[1, 4, 5]], [[1, 4, 5], [1, 4, 5]])
    assert made.kind == kind and made.inputs == shapes


def test_pads_are_those_of_onnx():
    (layer,) = _ncnn.layers(f"{_ncnn.MAGIC}\n1 1\nConvolution c 1 1 a b 0=8 1=5 11=3 4=1 14=2 15=3 16=4 6=360 9=6\n")
    made = _ncnn.kernel(layer, [[1, 3, 9, 9]], [[1, 8, 9, 9]])
    assert made.attributes["kernel_shape"] == [3, 5] and made.attributes["pads"] == [2, 1, 4, 3]
    assert made.fused == ("HardSwish",)


@pytest.mark.parametrize(
    "space",
    [
        pytest.param("nasbench201:cells=1", marks=pytest.mark.slow),
        pytest.param("nasbench201", marks=pytest.mark.slow),
        pytest.param("mobilenetv3:resolution=96,smallest=96", marks=pytest.mark.slow),
        pytest.param("chain:resolution=64", marks=pytest.mark.slow),
    ],
)
def test_networks_of_the_spaces_go_the_whole_way(space, tmp_path):
    nas = pytest.importorskip("nas")
    from nas.spaces import export
    from profiler.cuts import cut

    chosen = nas.spaces.load(space)
    (arch,) = chosen.sample(1, np.random.default_rng(3))
    subject = export.subject(chosen, arch)
    with Store(tmp_path / "store.db") as store:
        budget = Budget(device_s=1.0, min_processes=1, max_processes=1, rounds=3, profile_runs=2, memory=False)
        outcome = measure([subject], target="local-ncnn", store=store, budget=budget, wait=True)
        assert not outcome.failures
        graph = store.fused(subject.id, conditions_of(load("local-ncnn")))
        assert graph.runtime == "ncnn" and graph_work(graph).macs == graph_work(subject.graph).macs
        assert outcome.measurements[0].latency.value_ms > 0
    uses = cut(graph, chosen.assembly(arch))
    assert uses is not None
    for use in uses:  # each kernel bears the name of a node of its block
        assert all(graph.nodes[i].name.startswith(f"{use.block}/") for i in use.kernels)


def test_bad_networks_leave_a_failure(tmp_path):
    from profiler.subjects import from_bytes

    subject = from_bytes(convolution("Det"), name="bad")
    with Store(tmp_path / "store.db") as store:
        outcome = measure([subject], target="local-ncnn", store=store, wait=True)
    assert [failure.kind for failure in outcome.failures] == ["UnsupportedOperator"]


def test_a_target_in_fp32_runs_what_it_says(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(convolution())
    target = load("local-ncnn")
    graph = fused_graph(compilers.load("ncnn").compile(path, PLAIN), target)
    assert {node.operator.attribute("precision") for node in graph.nodes} == {"fp32"}
    assert target.runtime.threads == 1
