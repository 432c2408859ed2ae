"""LiteRT: what its converter makes of ONNX, who runs it, in which precision, and its kernels alone."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import device_profiles
import nas
import profiler
from device_profiles.errors import DeviceError, InvalidModel, UsageError, WrongPrecision
from nas.spaces.export import subject
from profiler import compilers, runtimes
from profiler.compilers.litert import CONVERTER
from profiler.cuts import cut
from profiler.fusing import read_fused
from profiler.onnx_graph import read_graph
from profiler.operators import operator_to_plain
from profiler.proofs import precision_of, require_precision
from profiler.runtimes.protocol import RuntimeOptions
from profiler.work import graph_macs

pytest.importorskip("ai_edge_litert")
converts = pytest.mark.skipif(not CONVERTER.installed, reason=f"no converter: {CONVERTER.command}")
RNG = np.random.default_rng(3)
#: One node, and its tensors, as LiteRT's kernels have them.
CONVOLUTION = [
    "litert", "Conv",
    [["builtin", "CONV_2D"], ["group", 1], ["kernel_shape", [3, 3]], ["layout", ["NHWC", "OHWI", "", "NHWC"]],
     ["precision", "fp32"], ["primitive", "xnnpack"], ["strides", [1, 1]], ["tfl", "Conv2DOptions"],
     ["tfl.dilationHFactor", 1], ["tfl.dilationWFactor", 1], ["tfl.fusedActivationFunction", 1], ["tfl.padding", 0],
     ["tfl.strideH", 1], ["tfl.strideW", 1], ["version", 1]],
    [[[1, 8, 6, 6], "float32", False], [[16, 8, 3, 3], "float32", True], [[16], "float32", True]],
    [[[1, 16, 6, 6], "float32", False]],
]  # fmt: skip


def weights(name, *shape):
    return numpy_helper.from_array((RNG.standard_normal(shape) * 0.3).astype(np.float32), name)


def model(nodes, shape, constants, out, batch=1):
    """An ONNX file from `x` to `y`; nodes are `(operator, inputs, output, attributes)`."""
    made = [
        helper.make_node(kind, reads, [write], name=f"block/{write}", **attributes)
        for kind, reads, write, attributes in nodes
    ]
    graph = helper.make_graph(
        made,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (batch, *shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (batch, *out))],
        constants,
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


SAME = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
MODELS = {
    "depthwise": model(
        [("Conv", ["x", "w"], "y", {**SAME, "group": 8, "strides": [2, 2]})],
        (8, 9, 9), [weights("w", 8, 1, 3, 3)], (8, 5, 5),
    ),
    "residual": model(
        [
            ("Conv", ["x", "w"], "c", SAME),
            ("HardSwish", ["c"], "h", {}),
            ("Add", ["h", "x"], "y", {}),
        ],
        (4, 8, 8), [weights("w", 4, 4, 3, 3)], (4, 8, 8), batch=2,
    ),
    "classifier": model(
        [
            ("GlobalAveragePool", ["x"], "p", {}),
            ("Flatten", ["p"], "f", {}),
            ("Gemm", ["f", "w", "b"], "y", {"transB": 1}),
        ],
        (6, 5, 5), [weights("w", 10, 6), weights("b", 10)], (10,),
    ),
    "transposed": model(
        [("ConvTranspose", ["x", "w"], "y", {"kernel_shape": [2, 2], "strides": [2, 2]})],
        (8, 5, 5), [weights("w", 8, 6, 2, 2)], (6, 10, 10),
    ),
}  # fmt: skip


#: Transposes: at the border of NCHW alone; without a convolution there is no reason for channels last.
TURNED = {
    ("depthwise", "nchw"): 2, ("residual", "nchw"): 2, ("classifier", "nchw"): 0,
    ("depthwise", "nhwc"): 0, ("residual", "nhwc"): 0, ("classifier", "nhwc"): 1,
    ("transposed", "nchw"): 2, ("transposed", "nhwc"): 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def litert():
    return runtimes.load("litert")


def fused(runtime, path, options):
    return read_fused(runtime.fuse(path, options), "litert")


def kernel_file(tmp_path, operator=CONVOLUTION, copies=3):
    found = compilers.load("litert").kernel_model(operator, copies)
    path = tmp_path / f"kernel{found.suffix}"
    path.write_bytes(found.content)
    return path


# -- without the converter


def test_a_kernel_alone_is_that_kernel_so_many_times(litert, tmp_path):
    path = kernel_file(tmp_path)
    graph = fused(litert, path, RuntimeOptions())
    read = {"dilations": [1, 1], "fused": ["Relu"], "pads": [1, 1, 1, 1], "tfl.quantizedBiasType": 0}
    kind, attributes, tensors = CONVOLUTION[:2], dict(CONVOLUTION[2]) | read, CONVOLUTION[3:]
    (found,) = map(operator_to_plain, set(graph.operators))
    assert found == [*kind, sorted(map(list, attributes.items())), *tensors] and len(graph.nodes) == 3
    outputs = litert.load(path, RuntimeOptions()).outputs()
    assert [one.shape for one in outputs] == [(1, 6, 6, 16)] * 3
    assert not np.array_equal(outputs[0], outputs[1]), "each copy has weights of its own"


def test_it_runs_as_many_threads_as_it_is_told(tmp_path):
    path = kernel_file(tmp_path)
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom profiler import runtimes\n"
        "from profiler.runtimes.protocol import RuntimeOptions\nruntime = runtimes.load('litert')\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "session = runtime.load(Path(sys.argv[1]), RuntimeOptions(threads=int(sys.argv[2])))\nsession.run()\n"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    found = [
        int(
            subprocess.run(
                [sys.executable, "-c", code, str(path), str(threads)],
                capture_output=True, text=True, check=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            ).stdout
        )
        for threads in (1, 3)
    ]  # fmt: skip
    assert found == [0, 2]


def test_fp16_is_computed_in_fp16_or_refused(litert, tmp_path):
    path, half = kernel_file(tmp_path), RuntimeOptions(precision="fp16")
    graph = fused(litert, path, half)
    whole, short = litert.load(path, RuntimeOptions()).outputs(), litert.load(path, half).outputs()
    if precision_of(graph.operators[0]) == "fp16":
        assert 0 < np.abs(whole[0] - short[0]).max() < 0.05
    else:
        with pytest.raises(WrongPrecision):
            require_precision(graph, "fp16", graph, "kernel")


def test_without_xnnpack_its_own_kernels_run_and_it_says_so(litert, tmp_path):
    path = kernel_file(tmp_path)
    graph = fused(litert, path, RuntimeOptions(options={"xnnpack": 0}))
    assert {operator.attribute("primitive") for operator in graph.operators} == {"litert"}
    own = litert.load(path, RuntimeOptions(options={"xnnpack": 0})).outputs()
    assert own[0] == pytest.approx(litert.load(path, RuntimeOptions()).outputs()[0], abs=1e-5)


@pytest.mark.parametrize("content", [b"", b"this is no model", b"\x1c\x00\x00\x00TFL3" + b"\x07" * 64])
def test_a_file_that_is_no_model_is_refused(litert, tmp_path, content):
    path = tmp_path / "bad.tflite"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match=r"LiteRT cannot load bad\.tflite"):
        litert.load(path, RuntimeOptions())


@pytest.mark.parametrize("options", [{"layout": "nchwc"}, {"xnnpack": 2}, {"fast": 1}])
def test_options_that_it_has_not_are_refused(litert, tmp_path, options):
    with pytest.raises(UsageError, match="runtime litert"):
        litert.load(kernel_file(tmp_path), RuntimeOptions(options=options))


def test_kernels_of_others_are_not_replayed():
    assert compilers.load("litert").kernel_model(["openvino", *CONVOLUTION[1:]], 2) is None
    custom = [*CONVOLUTION[:2], [["builtin", "CUSTOM"], ["version", 1]], *CONVOLUTION[3:]]
    assert compilers.load("litert").kernel_model(custom, 2) is None


def test_a_converter_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HWNAS_CONVERTERS", str(tmp_path))
    from profiler.compilers import converters

    missing = converters.Converter("litert", ("nothing==0",))
    (tmp_path / "m.onnx").write_bytes(MODELS["residual"])
    with pytest.raises(DeviceError, match="litert is not installed") as raised:
        missing.convert(tmp_path / "m.onnx", tmp_path / "m.tflite", {"layout": "nchw"})
    assert raised.value.hint == "hwnas doctor --install litert"


# -- with it


@converts
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("name", MODELS)
def test_it_computes_what_onnx_defines(litert, tmp_path, name, layout):
    path = tmp_path / "m.onnx"
    path.write_bytes(MODELS[name])
    options = RuntimeOptions(options={"layout": layout})
    made = compilers.load("litert").compile(path, options)
    graph, captured = fused(litert, made, options), read_graph(path)
    assert graph_macs(graph) == graph_macs(captured)
    assert {operator.attribute("primitive") for operator in graph.operators} == {"xnnpack"}
    x = RNG.standard_normal(captured.inputs[0][1].shape).astype(np.float32)
    (found,) = litert.load(made, options, {"x": x}).outputs()
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"x": x})
    assert (found.transpose(0, 3, 1, 2) if layout == "nhwc" and found.ndim == 4 else found) == pytest.approx(
        expected, abs=1e-5
    )
    turned = sum(operator.op_type == "Transpose" for operator in graph.operators)
    assert turned == TURNED[name, layout], "between convolutions there are none"
    with pytest.raises(InvalidModel, match="nothing for its input 'x'"):
        litert.load(made, options, {"z": x})


@converts
def test_calibration_decides_what_int8_computes_and_its_content_what_is_kept(litert, tmp_path):
    path, options = tmp_path / "m.onnx", RuntimeOptions(precision="int8")
    path.write_bytes(MODELS["residual"])
    shape = (2, 4, 8, 8)
    sets = [{"x": RNG.standard_normal(shape).astype(np.float32)} for _ in range(2)]
    made = compilers.load("litert").compile(path, options, sets)
    first = made.read_bytes()
    assert compilers.load("litert").compile(path, options, sets).read_bytes() == first
    graph = fused(litert, made, options)
    assert {precision_of(op) for op in graph.operators if op.op_type == "Conv"} == {"int8"}
    assert [op.attribute("by_channel") for op in graph.operators if op.op_type == "Conv"] == [1]
    left = {op.op_type for op in graph.operators if op.attribute("primitive") == "litert"}
    assert left == {"HardSwish"}, "what XNNPACK leaves to LiteRT is told"
    (found,), expected = litert.load(made, options, sets[0]).outputs(), ReferenceEvaluator(str(path)).run(None, sets[0])
    assert np.abs(found - expected[0]).max() < 0.05 * np.abs(expected[0]).max()
    wide = [{"x": 50 * one["x"]} for one in sets]
    assert compilers.load("litert").compile(path, options, wide).read_bytes() != first


@converts
@pytest.mark.parametrize(
    "spec",
    [
        pytest.param("nasbench201:cells=1,channels=4,resolution=8", marks=pytest.mark.slow),
        pytest.param("nasbench201", marks=pytest.mark.slow),
        pytest.param("mobilenetv3:resolution=96,smallest=96", marks=pytest.mark.slow),
        pytest.param("chain:resolution=64", marks=pytest.mark.slow),
    ],
)
def test_a_network_of_a_space_goes_the_whole_way(tmp_path, spec):
    """Measured, with the work of the captured graph; kernels belong to its blocks, and each runs alone as it ran."""
    space, target = nas.spaces.load(spec), device_profiles.load("local-litert")
    genome = space.sample(1, np.random.default_rng(0))[0]
    network = subject(space, genome)
    budget = profiler.Budget(spread=1.0, device_s=0.5, min_processes=1, max_processes=1, rounds=3)
    with profiler.Store(tmp_path / "a.db") as store:
        outcome = profiler.measure([network], target=target, store=store, budget=budget)
        assert not outcome.failures
        graph = store.fused(network.id, store.require_conditions(target.name))
    assert graph_macs(graph) == graph_macs(network.graph)
    uses = cut(graph, space.assembly(genome))
    assert uses is not None and sum(len(use.kernels) for use in uses) == len(graph.nodes)
    litert = runtimes.load("litert")
    for operator in dict.fromkeys(graph.operators):
        alone = fused(litert, kernel_file(tmp_path, operator_to_plain(operator), 2), RuntimeOptions())
        assert {_decides(one) for one in alone.operators} == {_decides(operator)}


def _decides(operator):
    """What an operator is, but for the order of axes, which one alone does not tell."""
    return json.dumps([(name, value) for name, value in operator.attributes if name != "layout"])
