"""ExecuTorch: what it computes, its kernels by its events, threads, what it refuses, and what it does silently."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from device_profiles.errors import DeviceError, InvalidModel, UnsupportedOperator, UsageError, WrongPrecision
from profiler import compilers, runtimes
from profiler.compilers.executorch import CONVERTER, _require_products_with_weights
from profiler.fusing import read_fused
from profiler.onnx_graph import read_graph
from profiler.operators import OperatorGraph
from profiler.proofs import require_precision
from profiler.runtimes._executorch.etdump import Event
from profiler.runtimes._executorch.matching import NoMatch, matched
from profiler.runtimes.protocol import RuntimeOptions
from profiler.testing import DEVIATIONS
from profiler.work import graph_work

node = helper.make_node
SAME = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
FP32, INT8 = RuntimeOptions(), RuntimeOptions(precision="int8")


def weight(name: str, *shape: int) -> Any:
    rng = np.random.default_rng(len(name) + sum(shape))
    return numpy_helper.from_array((0.3 * rng.standard_normal(shape)).astype(np.float32), name)


def save(path: Path, nodes: list[Any], shape: tuple[int, ...], weights: list[Any] = (), outputs: str = "y") -> Path:
    values = [helper.make_tensor_value_info("x", 1, shape)]
    made = [helper.make_tensor_value_info(name, 1, None) for name in outputs.split()]
    graph = helper.make_graph(nodes, "g", values, made, list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def mobile(path: Path) -> Path:
    """Two images through what mobile networks are made of."""
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], name="stem/conv", strides=[2, 2], **SAME),
        node("Relu", ["c1"], ["r1"], name="stem/relu"),
        node("Conv", ["r1", "w2", "b2"], ["c2"], name="dw/conv", group=8, **SAME),
        node("HardSwish", ["c2"], ["h2"], name="dw/swish"),
        node("Conv", ["h2", "w3", "b3"], ["c3"], name="pw/conv", kernel_shape=[1, 1]),
        node("Add", ["c3", "r1"], ["a"], name="pw/add"),
        node("Relu", ["a"], ["r2"], name="pw/relu"),
        node("MaxPool", ["r2"], ["m"], name="pool/max", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["m"], ["g"], name="head/mean"),
        node("Flatten", ["g"], ["f"], name="head/flatten"),
        node("Gemm", ["f", "w4", "b4"], ["y"], name="head/gemm"),
    ]
    weights = [
        weight("w1", 8, 3, 3, 3), weight("b1", 8), weight("w2", 8, 1, 3, 3), weight("b2", 8), weight("w3", 8, 8, 1, 1),
        weight("b3", 8), weight("w4", 8, 5), weight("b4", 5),
    ]  # fmt: skip
    return save(path, nodes, (2, 3, 16, 16), weights)


def various(path: Path) -> Path:
    """What XNNPACK does in other ways: a concatenation of six, one channel's weights twice, a function it lacks."""
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="c", group=4, **SAME),
        node("Concat", ["c", "c", "x", "x", "c", "x"], ["k"], name="k", axis=1),
        node("Erf", ["k"], ["e"], name="e"),
        node("AveragePool", ["e"], ["p"], name="p", count_include_pad=1, **SAME),
        node("BatchNormalization", ["p", "s", "o", "o", "s"], ["y"], name="n"),
    ]
    ones = numpy_helper.from_array(np.ones(36, np.float32), "s")
    return save(path, nodes, (1, 4, 8, 8), [weight("w", 8, 1, 3, 3), ones, weight("o", 36)])


@pytest.fixture(scope="module")
def runtime():
    try:
        return runtimes.load("executorch")
    except DeviceError as error:
        pytest.skip(error.message)


@pytest.fixture(scope="module")
def converted(runtime, tmp_path_factory):
    """Makes a program of a model, in a folder of its own."""
    if not CONVERTER.installed:
        pytest.skip(f"the converter is not installed: {CONVERTER.command}")
    compiler = compilers.load("executorch")

    def convert(make, options: RuntimeOptions = FP32) -> tuple[Path, Path]:
        path = make(tmp_path_factory.mktemp("executorch") / "model.onnx")
        return path, compiler.compile(path, options)

    return convert


@pytest.fixture(scope="module")
def programs(converted):
    """The mobile network in both precisions: model, program and kernels' options."""
    return {options.precision: (*converted(mobile, options), options) for options in (FP32, INT8)}


def fused(runtime: Any, program: Path, options: RuntimeOptions = FP32) -> OperatorGraph:
    return read_fused(runtime.fuse(program, options), "executorch")


def expected(path: Path, **given: Any) -> list[Any]:
    shape = [dim.dim_value for dim in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
    drawn = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return ReferenceEvaluator(str(path)).run(None, {"x": drawn, **given})


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_it_computes_what_onnx_defines_again_and_again(runtime, programs, precision):
    path, program, options = programs[precision]
    (wanted,) = expected(path)
    session = runtime.load(program, options)
    for _ in range(3):  # intermediate values may lie nowhere over the inputs
        (got,) = session.outputs()
        assert np.abs(got - wanted).max() <= DEVIATIONS[precision] * np.abs(wanted).max()
    ones = np.ones((2, 3, 16, 16), np.float32)
    (other,) = runtime.load(program, options, {"x": ones}).outputs()
    assert not np.allclose(other, got)
    with pytest.raises(InvalidModel, match="nothing for its input 'x'"):
        runtime.load(program, options, {"z": ones})


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_kernels_are_those_that_ran(runtime, programs, precision):
    path, program, options = programs[precision]
    graph = fused(runtime, program, options)
    assert graph_work(graph).macs == graph_work(read_graph(path)).macs
    require_precision(graph, precision, read_graph(path), "mobile")
    kernels = {
        n.name: n.operator for n in graph.nodes if n.operator.op_type not in ("QuantizeLinear", "DequantizeLinear")
    }
    stem, depthwise, pointwise = kernels["stem/conv"], kernels["dw/conv"], kernels["pw/conv"]
    assert (stem.attribute("fused"), stem.attribute("strides"), stem.inputs[1].shape) == (
        ("Relu",),
        (2, 2),
        (8, 3, 3, 3),
    )
    assert "DWConv" in depthwise.attribute("primitive") and depthwise.inputs[1].shape == (8, 1, 3, 3)
    assert pointwise.attribute("primitive").startswith("Fully Connected")  # so XNNPACK runs 1x1 convolutions
    assert stem.inputs[0].shape == (2, 3, 16, 16), "shapes are in ONNX's order"
    said = {operator.attribute("precision") for operator in (stem, depthwise, pointwise, kernels["head/gemm"])}
    assert said == {precision}
    swish = kernels["dw/swish"]
    table = ("DequantizeLinear", "QuantizeLinear") if precision == "int8" else None
    assert (swish.op_type, swish.attribute("fused")) == ("HardSwish", table)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_profile_speaks_of_the_kernels(runtime, programs, precision):
    _, program, options = programs[precision]
    graph = fused(runtime, program, options)
    profile = runtime.load(program, options).profile(4)
    assert [(k.node, k.op_type) for k in profile.kernels] == [(n.name, n.operator.op_type) for n in graph.nodes]
    assert all(kernel.mean_ns > 0 and kernel.runs == 4 for kernel in profile.kernels)
    assert profile.run_ns > 0


def test_bounds_that_xnnpack_applies_by_an_operator_of_their_own(runtime, programs):
    graph = fused(runtime, programs["fp32"][1])
    at = next(i for i, one in enumerate(graph.nodes) if one.operator.op_type == "Add")
    assert graph.nodes[at + 1].operator.op_type == "Relu" and "Clamp" in graph.nodes[at + 1].operator.attribute(
        "primitive"
    )
    assert graph.nodes[at].outputs == graph.nodes[at + 1].inputs


def test_what_runs_outside_of_xnnpack_is_shown(runtime, converted):
    path, program = converted(various)
    graph = fused(runtime, program)
    outside = {
        n.operator.op_type: n.operator.attribute("primitive")
        for n in graph.nodes
        if n.operator.attribute("primitive").startswith("ExecuTorch")
    }
    assert outside == {"Erf": "ExecuTorch erf.out", "AveragePool": "ExecuTorch avg_pool2d.out"}
    assert (
        len([n for n in graph.nodes if n.operator.op_type == "Concat"]) == 2
    )  # of five, and of the result and the last
    assert graph_work(graph).macs == graph_work(read_graph(path)).macs
    assert (
        "DWConv" in next(n.operator for n in graph.nodes if n.name and n.operator.op_type == "BatchNormalization").key
    )
    session = runtime.load(program, FP32)
    np.testing.assert_allclose(session.outputs()[0], expected(path)[0], atol=1e-5)
    assert [k.op_type for k in session.profile(2).kernels] == [n.operator.op_type for n in graph.nodes]


def test_events_are_read_as_executorch_reads_them(runtime, programs, tmp_path):
    etdump = pytest.importorskip("executorch.devtools.etdump.serialize")
    from profiler.runtimes._executorch.etdump import read
    from profiler.runtimes.executorch import ExecuTorchSession

    session = ExecuTorchSession(programs["fp32"][1], FP32, traced=True)
    session.run()
    session.run()
    session._program.write_etdump_result_to_file(str(tmp_path / "dump"), "")
    content = (tmp_path / "dump").read_bytes()
    theirs = [run for run in etdump.deserialize_from_etdump_flatcc(content).run_data if run.name == "Execute"]
    mine = read(content)
    assert len(mine) == len(theirs) == 2
    for events, run in zip(mine, theirs, strict=True):
        for event, entry in zip(events, run.events, strict=True):
            own = entry.profile_event
            assert event.name == (own.delegate_debug_id_str or own.name)
            assert (event.instruction, event.ns) == (own.instruction_id, own.end_time - own.start_time)
            assert not event.within or event.ns % 1000 == 0, "XNNPACK tells whole microseconds"


@pytest.mark.parametrize("threads", [2, 1])
def test_threads_are_those_asked_for(runtime, programs, threads):
    import gc

    gc.collect()
    session = runtime.load(programs["fp32"][1], RuntimeOptions(threads=threads))
    session.run()
    assert session.threads == threads
    with pytest.raises(UsageError, match="cannot change while a model is loaded"):
        runtime.load(programs["fp32"][1], RuntimeOptions(threads=threads + 1))
    session.close()


def test_a_forked_process_runs(runtime, programs):
    """Workers are forked after the library was loaded."""
    runtime.load(programs["fp32"][1], FP32).run()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = int(runtime.fuse(programs["fp32"][1], FP32) is None)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_the_wheel_has_is_a_condition(runtime):
    assert runtime.version.startswith("executorch 1.") and runtime.version.endswith("with event tracer")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (RuntimeOptions(precision="fp16"), "runs fp32, int8"),
        (RuntimeOptions(options={"delegate": "none"}), "no option 'delegate'"),
        (RuntimeOptions(optimisation="none"), "no optimisation level 'none'"),
    ],
)
def test_options_that_it_lacks(runtime, programs, options, words):
    with pytest.raises(UsageError, match=words):
        runtime.load(programs["fp32"][1], options)


def test_programs_that_cannot_be_read(runtime, programs, tmp_path):
    program = programs["fp32"][1]
    copy = tmp_path / "copy.pte"
    copy.write_bytes(program.read_bytes())
    with pytest.raises(InvalidModel, match=r"copy\.json"):
        runtime.load(copy, FP32)
    known = json.loads(program.with_suffix(".json").read_text())
    copy.with_suffix(".json").write_text(json.dumps({**known, "schema": "hwnas.executorch/9"}))
    with pytest.raises(InvalidModel, match="of schema hwnas"):
        runtime.load(copy, FP32)
    known["kernels"][1]["xnnpack"] = "MaxPooling2d"
    copy.with_suffix(".json").write_text(json.dumps(known))
    with pytest.raises(InvalidModel, match="ran for MaxPooling2d of stem/conv"):
        runtime.fuse(copy, FP32)
    copy.write_bytes(program.read_bytes()[:1000])
    with pytest.raises(InvalidModel, match=r"cannot read copy\.pte"):
        runtime.load(copy, FP32)


def test_models_that_cannot_be_converted(converted, tmp_path):
    def unknown(path: Path) -> Path:
        return save(path, [node("Relu", ["x"], ["r"]), node("NoSuchOperator", ["r"], ["y"], name="odd")], (1, 4))

    def broken(path: Path) -> Path:
        path.write_bytes(b"this is no model")
        return path

    with pytest.raises(UnsupportedOperator, match="NoSuchOperator"):
        converted(unknown)
    for options in (FP32, INT8):
        with pytest.raises(InvalidModel, match="is not an ONNX model"):
            converted(broken, options)


def test_programs_that_compute_something_else_are_refused(converted):
    """ExecuTorch 1.5.1 takes a softmax over the last axis of NHWC, which are the channels."""

    def softmax(path: Path) -> Path:
        nodes = [node("Conv", ["x", "w"], ["c"], name="c", **SAME), node("Softmax", ["c"], ["y"], name="s", axis=-1)]
        return save(path, nodes, (1, 4, 8, 8), [weight("w", 4, 4, 3, 3)])

    with pytest.raises(InvalidModel, match="computes something else than the model"):
        converted(softmax)


def attention(path: Path) -> Path:
    nodes = [
        node("MatMul", ["x", "w"], ["q"], name="q"),
        node("Transpose", ["q"], ["t"], name="t", perm=[0, 2, 1]),
        node("MatMul", ["q", "t"], ["y"], name="s"),
    ]
    return save(path, nodes, (1, 6, 8), [weight("w", 8, 8)])


def test_products_of_activations_stay_in_fp32(runtime, converted, monkeypatch):
    """What is refused before it is converted: a version that quantises them will be seen here."""
    with pytest.raises(WrongPrecision, match="MatMul s multiplies activations"):
        converted(attention, INT8)
    monkeypatch.setattr("profiler.compilers.executorch._require_products_with_weights", lambda model: None)
    path, program = converted(attention, INT8)
    graph = fused(runtime, program, INT8)
    said = {n.name: n.operator.attribute("precision") for n in graph.nodes if n.operator.op_type == "MatMul"}
    assert said == {"q": "int8", "s": "fp32"}
    with pytest.raises(WrongPrecision, match="1 of 2 computing kernels"):
        require_precision(graph, "int8", read_graph(path), "attention")


HALF = [numpy_helper.from_array(np.zeros((4, 4), np.float16), "half")]


@pytest.mark.parametrize(
    ("nodes", "weights", "refused"),
    [
        ([node("Einsum", ["x", "x"], ["y"], equation="ij,kj->ik")], [], "Einsum"),
        ([node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4)], [weight("w", 1, 16, 4), weight("r", 1, 16, 4)], "LSTM"),
        ([node("Gemm", ["x", "w", "x"], ["y"])], [weight("w", 4, 4)], ""),
        ([node("Relu", ["w"], ["c"]), node("MatMul", ["x", "c"], ["y"])], [weight("w", 4, 4)], ""),
        ([node("Cast", ["x"], ["h"], to=10), node("MatMul", ["h", "h"], ["y"])], [], ""),
        ([node("MatMul", ["half", "half"], ["y"])], HALF, ""),
        ([node("Cast", ["x"], ["h"], to=10), node("Cast", ["h"], ["f"], to=1), node("MatMul", ["f", "f"], ["y"])], [],
         "MatMul"),
    ],
)  # fmt: skip
def test_what_is_refused_before_it_is_converted(tmp_path, nodes, weights, refused):
    path = save(tmp_path / "model.onnx", nodes, (4, 4), weights)
    if not refused:
        _require_products_with_weights(path)
        return
    with pytest.raises(WrongPrecision, match=f"{refused} .*multiplies activations") as caught:
        _require_products_with_weights(path)
    assert caught.value.hint


def test_calibration_counts_by_its_content(converted, tmp_path):
    path = mobile(tmp_path / "model.onnx")
    compiler = compilers.load("executorch")
    wide = [{"x": np.full((2, 3, 16, 16), value, np.float32)} for value in (-40.0, 40.0)]
    first = compiler.compile(path, INT8).read_bytes()
    assert compiler.compile(path, INT8, wide).read_bytes() != first
    assert compiler.compile(path, INT8).read_bytes() == first


def test_events_that_nobody_asked_for_are_no_kernels():
    asked = [
        {
            "instruction": 0, "xnnpack": "Add", "name": "a", "op_type": "Add", "attributes": {},
            "inputs": [["x", [[1], "float32", False]]], "outputs": [["y", [[1], "float32", False]]],
        }
    ]  # fmt: skip
    add, more = Event("Add (ND) #1", 0, True, 2000), Event("Copy (NC, X32) #1", 0, True, 1000)
    around = Event("DELEGATE_CALL", 0, False, 9000)
    assert [kernel.ns for kernel in matched(asked, [add, around])] == [2000]
    for events, words in (([add, more], "ran at the end"), ([], "nothing ran for Add"), ([more], "ran for Add of a")):
        with pytest.raises(NoMatch, match=words):
            matched(asked, events)
    with pytest.raises(NoMatch, match="nobody asked"):
        matched(asked, [add, Event("native_call_erf.out", 1, False, 5)])


def call(kind: str, reads: list[str], writes: str, dtype: str = "int8") -> dict[str, Any]:
    """What is asked of XNNPACK in the program's first instruction; values inside of it have colons."""
    return {
        "instruction": 0, "xnnpack": kind, "name": writes, "op_type": kind, "attributes": {},
        "inputs": [[one, [[4], dtype, False]] for one in reads], "outputs": [[writes, [[4], dtype, False]]],
    }  # fmt: skip


def ran(*names: str) -> list[Event]:
    return [Event(f"{name} #{number}", 0, True, 1000 * number) for number, name in enumerate(names, start=1)]


def test_what_a_sigmoid_of_itself_gates_is_one_table():
    asked = [
        call("Conv2d", ["x"], "0:1"), call("Convert", ["0:1"], "0:2"), call("Sigmoid", ["0:2"], "0:3", "float32"),
        call("Convert", ["0:3"], "0:4", "float32"), call("Multiply", ["0:1", "0:4"], "0:5"),
        call("Add", ["0:5", "0:1"], "y"),
    ]  # fmt: skip
    found = matched(asked, ran("Convolution (NHWC, QC8) IGEMM", "Invalid Unary Op", "Add (ND)"))
    assert [(kernel.op_type, kernel.ns) for kernel in found] == [("Conv2d", 1000), ("Sigmoid", 2000), ("Add", 3000)]
    assert found[1].attributes["fused"] == ["Convert", "Convert", "Multiply"]
    assert (found[1].inputs[0][0], found[1].outputs[0][0]) == ("0:1", "0:5")
    asked[4] = call("Multiply", ["0:1", "z"], "0:5")  # by something else: it runs
    events = ran("Convolution (NHWC, QC8) IGEMM", "Invalid Unary Op", "Multiply (ND)", "Add (ND)")
    assert [kernel.op_type for kernel in matched(asked, events)] == ["Conv2d", "Sigmoid", "Multiply", "Add"]


@pytest.mark.parametrize(
    ("between", "reader", "names", "kernels"),
    [
        ("0:1", "0:2", ("Static Reshape (NC)", "Add (ND)"), 2),
        ("0:1", "0:2", ("Static Reshape (NC)", "Static Reshape (NC)", "Add (ND)"), 3),
        ("0:1", "0:1", ("Static Reshape (NC)", "Static Reshape (NC)", "Add (ND)"), 3),
        ("made", "0:2", ("Static Reshape (NC)", "Static Reshape (NC)", "Add (ND)"), 3),
    ],
)
def test_of_two_changes_of_shape_one_may_run(between, reader, names, kernels):
    """Not where somebody else reads what is between them, in the call or outside of it."""
    asked = [
        call("StaticReshape", ["x"], between), call("StaticReshape", [between], "0:2"),
        call("Add", [reader, "0:2"], "y"),
    ]  # fmt: skip
    found = matched(asked, ran(*names))
    assert len(found) == kernels and found[0].inputs[0][0] == "x"
    if kernels == 3 and (between, reader) != ("0:1", "0:2"):
        with pytest.raises(NoMatch, match="ran for StaticReshape"):
            matched(asked, ran("Static Reshape (NC)", "Add (ND)"))


def test_whole_numbers_and_single_ones_are_not_quantised(converted, runtime):
    """Ids that the network makes and counts on with, and a sum with a number."""

    def tokens(path: Path) -> Path:
        one, two = (numpy_helper.from_array(np.array(value, kind), name) for value, kind, name in (
            (1, np.int64, "one"), (2.0, np.float32, "two"),
        ))  # fmt: skip
        nodes = [
            node("MatMul", ["x", "w"], ["p"], name="p"),
            node("ArgMax", ["p"], ["i"], name="i", axis=1, keepdims=0),
            node("Add", ["i", "one"], ["k"], name="k"),
            node("Gather", ["table", "k"], ["g"], name="g"),
            node("Add", ["g", "two"], ["t"], name="t"),
            node("Add", ["t", "p"], ["y"], name="y"),
        ]
        return save(path, nodes, (6, 8), [weight("w", 8, 8), weight("table", 9, 8), one, two])

    path, program = converted(tokens, INT8)
    (wanted,) = expected(path)
    (got,) = runtime.load(program, INT8).outputs()
    assert np.abs(got - wanted).max() <= DEVIATIONS["int8"] * np.abs(wanted).max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("nasbench201", FP32),
        ("nasbench201:cells=1", INT8),
        ("mobilenetv3:resolution=96,smallest=96", FP32),
        ("mobilenetv3:resolution=96,smallest=96", INT8),
        ("chain:resolution=64", FP32),
    ],
)
def test_networks_of_spaces_do_their_work(runtime, converted, tmp_path, spec, options):
    """This package may not import `nas`, its tests may; a conversion takes half a minute."""
    import nas
    from nas.spaces.export import onnx_bytes
    from profiler.campaign import Budget, measure
    from profiler.store import Store
    from profiler.subjects import from_bytes

    space = nas.spaces.load(spec)
    model = onnx_bytes(space, space.sample(1, np.random.default_rng(0))[0])
    subject = from_bytes(model, name="network")
    target = "local-executorch" if options == FP32 else "local-executorch-int8"
    with Store(tmp_path / "store.db") as store:
        outcome = measure([subject], target=target, store=store, budget=Budget(device_s=2.0))
    assert not outcome.failures and len(outcome.measurements) == 1

    def written(path: Path) -> Path:
        path.write_bytes(model)
        return path

    _, program = converted(written, options)
    assert graph_work(fused(runtime, program, options)).macs == graph_work(subject.graph).macs
