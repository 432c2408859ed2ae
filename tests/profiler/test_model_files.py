"""Files as strangers write them: free dimensions, shapes that only a run tells, inputs that something reads."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from device_profiles.errors import InvalidData, InvalidModel, UsageError
from device_profiles.profile import load
from profiler import model_files, runtimes
from profiler.free_dims import Wanted, parse_dim, parse_shape
from profiler.fusing import fused_graph
from profiler.model_files import Asked, ModelFile, prepare, read_inputs, value_class
from profiler.runtimes.onnxruntime import _outermost
from profiler.runtimes.protocol import RuntimeOptions
from profiler.subjects import from_file

Write = Callable[..., Path]
ORT = load("local-onnxruntime")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a model given as ONNX's text, with weights by name."""

    def make(text: str, name: str = "model.onnx", **weights: np.ndarray) -> Path:
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17, "my" : 1]>\n{text}')
        known = {weight.name for weight in model.graph.initializer}
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(array, key) for key, array in weights.items() if key not in known
        )
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return make


def run(ready: ModelFile, folder: Path) -> list[np.ndarray]:
    path = folder / "ready.onnx"
    path.write_bytes(ready.content)
    return runtimes.load("onnxruntime").load(path, RuntimeOptions(), ready.inputs).outputs()


WEIGHT = np.linspace(-1, 1, 4 * 3 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 3)
IMAGE = "g (float[N, 3, H, W] x) => (float[N, 4, A, B] y) { y = Conv(x, w) }"


def test_a_leading_free_dimension_is_a_batch_of_one_and_that_is_said(write: Write) -> None:
    path = write("g (float[N, 3, 8, 8] x) => (float[N, 4, 6, 6] y) { y = Conv(x, w) }", w=WEIGHT)
    ready = prepare(path)
    assert ready.graph.inputs[0][1].shape == (1, 3, 8, 8) and "taken as 1" in ready.notes[0] and "x" in ready.notes[0]
    for wanted in (Wanted(batch=8), Wanted(dims={"N": 8}), Wanted(shapes={"x": (8, 3, 8, 8)})):
        eight = prepare(path, Asked(wanted))
        assert eight.graph.operators[0].outputs[0].shape == (8, 4, 6, 6) and eight.notes == ()


def test_other_free_dimensions_are_listed_with_a_command_that_runs(write: Write, tmp_path: Path) -> None:
    path = write(IMAGE, w=WEIGHT)
    with pytest.raises(InvalidModel) as caught:
        prepare(path)
    assert "x: [N, 3, H, W]" in caught.value.message
    words = shlex.split(caught.value.hint.split(": ", 1)[1])
    assert words[0] == "--shape"
    ready = prepare(path, Asked(Wanted(dict([parse_shape(words[1])]))))
    assert run(ready, tmp_path)[0].shape[0] == 1
    small = prepare(path, Asked(Wanted(dims={"H": 9, "W": 7})))
    assert small.graph.operators[0].outputs[0].shape == (1, 4, 7, 5)


def test_the_command_counts_what_the_model_demands(write: Write) -> None:
    """Only sizes that the model takes are shown: this one wants 64 columns."""
    path = write("g (float[N, T] x) => (float[N, M] y) { y = MatMul(x, w) }", w=np.ones((64, 2), dtype=np.float32))
    with pytest.raises(InvalidModel) as caught:
        prepare(path)
    assert caught.value.hint.endswith("--shape x=1x64")


def test_equal_symbols_are_one_number(write: Write) -> None:
    path = write("g (float[N, T] x, float[T, 2] v) => (float[N, 2] y) { y = MatMul(x, v) }")
    ready = prepare(path, Asked(Wanted(shapes={"x": (1, 5)})))
    assert dict(ready.graph.inputs)["v"].shape == (5, 2)
    with pytest.raises(InvalidModel, match="'T' is to be"):
        prepare(path, Asked(Wanted(shapes={"x": (1, 5), "v": (6, 2)})))


def test_what_contradicts_the_file_is_refused_but_not_among_several(write: Write) -> None:
    path = write("g (float[1, 4] x) => (float[1, 4] y) { y = Relu(x) }")
    other = Wanted(shapes={"x": (1, 5)})
    with pytest.raises(InvalidModel, match="1x5 is asked for"):
        prepare(path, Asked(other))
    with pytest.raises(InvalidModel, match="fixed at 1, 8 is asked for"):
        prepare(path, Asked(Wanted(batch=8)))
    assert prepare(path, Asked(Wanted(other.shapes, batch=8, several=True))).graph.inputs[0][1].shape == (1, 4)


def test_shapes_of_another_batch_go_with_it(write: Write) -> None:
    """Exporters write the inner shapes of the batch that they saw, whatever the input says."""
    model = onnx.load(write("g (float[N, 4] x) => (float[1, 4] y) { a = Relu(x) y = Abs(a) }"))
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("a", 1, [1, 4]))
    path = write("g (float[N, 4] x) => (float[1, 4] y) { a = Relu(x) y = Abs(a) }")
    onnx.save(model, path)
    ready = prepare(path, Asked(Wanted(batch=8)))
    assert [operator.outputs[0].shape for operator in ready.graph.operators] == [(8, 4), (8, 4)]


@pytest.mark.parametrize("text", ["x", "x=", "=1x2", "x=1xa", "x=1x-2", "x=1x2x", "x=" + "9" * 11])
def test_shapes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="a shape is"):
        parse_shape(text)


def test_shapes_and_dimensions_are_read() -> None:
    assert parse_shape("gpu_0/data=1x3") == ("gpu_0/data", (1, 3)) and parse_shape("a=b=2") == ("a=b", (2,))
    assert parse_shape("sr=scalar") == ("sr", ()) and parse_dim("p2o.Dim.0=8") == ("p2o.Dim.0", 8)
    for text in ("N", "N=0", "N=x", "=3"):
        with pytest.raises(UsageError, match="a dimension is"):
            parse_dim(text)


COMPUTED = """g (float[1, 4, 8] x) => (float[?, ?, ?] y) {
    s = Shape(x)
    n = Gather(s, zero)
    u = Unsqueeze(n, first)
    t = Concat<axis = 0>(u, rest)
    e = Expand(token, t)
    c = Concat<axis = 1>(e, x)
    y = Relu(c)
}"""


def test_a_shape_that_is_computed_comes_from_a_run(write: Write, tmp_path: Path) -> None:
    weights = {
        "zero": np.array(0), "first": np.array([0]), "rest": np.array([1, 8]),
        "token": np.ones((1, 1, 8), dtype=np.float32),
    }  # fmt: skip
    path = write(COMPUTED, **weights)
    subject = from_file(path)
    assert subject.graph.nodes[-1].operator.outputs[0].shape == (1, 5, 8)
    saved = tmp_path / "subject.onnx"
    saved.write_bytes(subject.onnx())
    graph = fused_graph(saved, ORT, captured=subject.graph, inputs=subject.inputs, foreign=True)
    assert graph.nodes[-1].operator.outputs[0].shape == (1, 5, 8)


def test_whole_numbers_are_in_the_range_of_what_reads_them(write: Write, tmp_path: Path) -> None:
    ready = prepare(
        write(
            """g (int64[1, 16] ids, int64[1, 16] types) => (float[1, 16, 4] y) {
                a = Gather(words, ids)
                c = Cast<to = 6>(types)
                b = Gather(one, c)
                y = Add(a, b)
            }""",
            words=np.ones((1000, 4), dtype=np.float32),
            one=np.ones((1, 4), dtype=np.float32),
        )
    )
    assert ready.inputs["types"].max() == 0 and 2 < ready.inputs["ids"].max() < 1000
    assert run(ready, tmp_path)[0].shape == (1, 16, 4)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("g (float[1, 9] x, int64[1] k) => (float[1, ?] y) { y, i = TopK(x, k) }", "k", [4]),
        ("g (float[1, 4] x, int64[2] s) => (float[?, ?] y) { y = Reshape(x, s) }", "s", [-1, 1]),
        ("g (float[2, 4] x, int64[1] a) => (float[?] y) { y = ReduceSum(x, a) }", "a", [0]),
        ("g (float[2, 4] x, int64[4] p) => (float[?, ?] y) { y = Pad(x, p) }", "p", [0] * 4),
        ("g (float[2, 4] x, int64[1] b, int64[1] e) => (float[?, ?] y) { y = Slice(x, b, e) }", "b", [0]),
        ("g (float[2, 4] x, int64 attention_mask) => (float[2, 4] y) "
         "{ c = Cast<to = 1>(attention_mask) y = Mul(x, c) }",
         "attention_mask", 1),
        ("g (float[2, 7] x, int64[2] input_lengths) => (float[2, 7] y) { c = Cast<to = 1>(input_lengths) "
         "u = Unsqueeze(c, one) y = Mul(x, u) }", "input_lengths", [7, 7]),
        ("g (float[1, 4] x, bool flag) => (float[1, 4] y) { y = Where(flag, x, x) }", "flag", True),
    ],
)  # fmt: skip
def test_sizes_axes_lengths_and_masks_make_sense(
    write: Write, tmp_path: Path, text: str, name: str, expected: object
) -> None:
    ready = prepare(write(text, one=np.array([1])))
    assert ready.inputs[name].tolist() == expected
    assert run(ready, tmp_path)


def test_images_are_images(write: Write) -> None:
    real = prepare(write("g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { y = Relu(x) }")).inputs["x"]
    assert 0.0 <= real.min() < 0.1 and 0.9 < real.max() < 1.0
    whole = prepare(write("g (uint8[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { y = Cast<to = 1>(x) }")).inputs["x"]
    assert whole.dtype == np.uint8 and whole.max() > 200


def test_inputs_of_ones_own(write: Write, tmp_path: Path) -> None:
    path = write("g (float[N, 4] x, int64[1] k) => (float[?, ?] y) { y, i = TopK(x, k) }")
    own = tmp_path / "inputs.npz"
    np.savez(own, k=np.array([3]), x=np.zeros((2, 4), dtype=np.float32))
    ready = prepare(path, Asked(inputs=read_inputs(own)))
    assert ready.graph.operators[0].outputs[0].shape == (2, 3), "their shapes count"
    assert from_file(path, Asked(inputs=read_inputs(own))).id != from_file(path).id, "other inputs, another measurement"
    for content in (b"", b"PK\x03\x04 no", b"\x80\x04"):
        own.write_bytes(content)
        with pytest.raises(InvalidData, match="holds no arrays"):
            read_inputs(own)
    np.savez(own, x=np.array([{}], dtype=object))
    with pytest.raises(InvalidData, match="holds no arrays"):
        read_inputs(own)


def test_what_the_runtime_cannot_run_is_told_in_its_words(write: Write) -> None:
    path = write("g (float[1, 4] x, int64[1] k) => (float[?, ?] y) { z = Identity(k) y, i = TopK(x, z) }")
    with pytest.raises(InvalidModel, match=r"ONNX Runtime cannot run model.onnx.*TopK") as caught:
        prepare(path, Asked(inputs={"k": np.array([9])}))
    assert "--inputs" in caught.value.hint and "agent" not in caught.value.message


def test_functions_of_the_model_itself_are_put_in_place(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "my" : 1]> g (float[1, 4] x) => (float[1, 4] y) { y = my.twice(x) }'
        ' <domain: "my", opset_import: ["" : 17]> twice (a) => (b) { c = Relu(a) b = Abs(c) }'
    )
    path = tmp_path / "function.onnx"
    onnx.save(model, path)
    assert [operator.op_type for operator in prepare(path).graph.operators] == ["Relu", "Abs"]


BRANCH = """g (float[1, 8] x, bool c) => (float[1, 8] y) {
    a = Relu(x)
    y = If(c) <then_branch = t () => (float[1, 8] p) { p = Add(a, v) },
               else_branch = e () => (float[1, 8] q) { q = Identity(a) }>
}"""


def test_a_branch_reads_what_its_graph_reads_and_holds_its_weights(write: Write) -> None:
    """The weights inside of branches count in memory, and what they read is not dead."""
    path = write(BRANCH, v=np.ones((1, 8), dtype=np.float32))
    graph = prepare(path).graph
    assert [operator.op_type for operator in graph.operators] == ["Relu", "If"]
    held = graph.nodes[1]
    assert "a" in held.inputs and "v" in held.inputs
    model = onnx.load(path)
    inner = next(a.g for a in model.graph.node[1].attribute if a.name == "then_branch")
    inner.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 8), dtype=np.float32), "own"))
    inner.node[0].input[1] = "own"
    onnx.save(model, path)
    tensors = prepare(path).graph.nodes[1].operator.inputs
    assert any(tensor is not None and tensor.constant and tensor.shape == (1, 8) for tensor in tensors)


def test_events_inside_of_a_loop_are_its_own() -> None:
    def event(name: str, op: str, ts: int, dur: int) -> dict[str, object]:
        return {"name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": {"op_name": op}}

    events = [
        event("first", "Relu", 0, 5),
        event("inner", "Add", 6, 2), event("first", "Mul", 8, 1),  # a name of the outside
        event("deep", "Abs", 10, 1), event("branch", "If", 9, 4),
        event("loop", "Loop", 5, 20),
        event("last", "Relu", 25, 0),
    ]  # fmt: skip
    assert [e["name"] for e in _outermost(events)] == [f"{name}_kernel_time" for name in ("first", "loop", "last")]


def test_a_loop_is_profiled_as_one_node(write: Write, tmp_path: Path) -> None:
    path = write(
        """g (float[1, 64] x) => (float[1, 64] y) {
            h = Relu(x)
            y = Loop(trips, yes, h) <body = b (int64 i, bool go, float[1, 64] s) => (bool on, float[1, 64] r) {
                on = Identity(go)
                d = Sigmoid(s)
                r = Add(d, s)
            }>
        }""",
        trips=np.array(30),
        yes=np.array(True),
    )
    ready = prepare(path)
    saved = tmp_path / "loop.onnx"
    saved.write_bytes(ready.content)
    session = runtimes.load("onnxruntime").load(saved, RuntimeOptions(), ready.inputs)
    profile = session.profile(5)
    assert profile is not None
    assert [kernel.op_type for kernel in profile.kernels] == ["Relu", "Loop"]
    assert profile.run_ns is not None and sum(k.mean_ns for k in profile.kernels) <= 1.05 * profile.run_ns + 5_000


def test_weights_that_matter_to_speed_tell_models_apart(write: Write) -> None:
    text = "g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) { y = Conv(x, w) }"
    ids = {}
    for name, weight in {
        "normal": WEIGHT, "other": WEIGHT[::-1].copy(), "denormal": WEIGHT * np.float32(1e-40),
        "sparse": np.where(WEIGHT > 0, WEIGHT, 0), "broken": np.full_like(WEIGHT, np.nan),
    }.items():  # fmt: skip
        ids[name] = from_file(write(text, f"{name}.onnx", w=weight.astype(np.float32))).id
    assert ids["normal"] == ids["other"]
    assert len(set(ids.values())) == 4


def test_classes_of_weights() -> None:
    ordinary = np.linspace(0.5, 1.5, 1000, dtype=np.float32)
    assert value_class(ordinary) == value_class(np.zeros(0, dtype=np.float32)) == ""
    assert value_class(np.zeros(10, dtype=np.float32)) == "zeros 10"
    half = np.concatenate([ordinary, ordinary * np.float32(1e-40)])
    assert value_class(half) == "denormal 5"
    assert value_class(np.array([np.inf], dtype=np.float32)) == "not finite"


def test_the_share_of_work_that_denormal_weights_do(write: Write) -> None:
    text = """g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) {
        a = Conv<pads = [1, 1, 1, 1]>(x, v)  b = Conv<pads = [1, 1, 1, 1]>(a, w)  y = Relu(b) }"""
    weight = np.linspace(0.5, 1.5, 3 * 3 * 3 * 3, dtype=np.float32).reshape(3, 3, 3, 3)
    half = weight.copy()
    half[:, :, :, 0] *= np.float32(1e-40)
    shares = [
        prepare(write(text, f"{i}.onnx", v=weight, w=other.astype(np.float32))).denormal
        for i, other in enumerate((weight, weight * np.float32(1e-40), half))
    ]
    relu, conv = 3 * 8 * 8, 3 * 8 * 8 * 3 * 3 * 3
    assert shares[0] == 0.0
    np.testing.assert_allclose(shares[1:], [conv / (2 * conv + relu), 0.4 * conv / (2 * conv + relu)])


def test_a_node_that_reads_nothing_writes_a_value_of_unknown_shape(tmp_path: Path) -> None:
    """Two operators that copy a shape, the first of nothing: which ONNX itself refuses, and no code of ours minds."""
    nodes = [onnx.helper.make_node("Relu", [], ["a"]), onnx.helper.make_node("Relu", ["a"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "g", [], [onnx.helper.make_tensor_value_info("y", 1, None)])
    path = tmp_path / "nothing.onnx"
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(InvalidModel):
        prepare(path)


def test_a_fault_of_ours_costs_the_file_and_says_so(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("g (float[1, 4] x) => (float[1, 4] y) { y = Relu(x) }", "a.onnx")

    def fault(proto: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(model_files, "known_shapes", fault)
    with pytest.raises(InvalidModel, match=r"a\.onnx cannot be read: IndexError") as caught:
        prepare(path)
    assert "HWNAS_TRACEBACK=1" in caught.value.hint
    monkeypatch.setenv("HWNAS_TRACEBACK", "1")
    with pytest.raises(IndexError):
        prepare(path)


def test_a_model_whose_dead_branch_contradicts_its_shapes_keeps_them_free(write: Write, tmp_path: Path) -> None:
    """Such a one loads with free dimensions, and is refused with fixed ones: it is measured as it loads."""
    path = write(
        """g (float[N, T] x) => (float[?, ?] y) {
            r = Shape(x)
            n = ReduceProd<keepdims = 0>(r)
            b = Equal(n, fifty)
            y = If(b) <then_branch = t () => (float[?, ?] p) { p = MatMul(x, five) },
                       else_branch = e () => (float[?, ?] q) { q = Relu(x) }>
        }""",
        fifty=np.array(50),
        five=np.ones((5, 2), dtype=np.float32),
    )
    ready = prepare(path, Asked(Wanted(shapes={"x": (1, 8)})))
    assert run(ready, tmp_path)[0].shape == (1, 8)


@pytest.mark.parametrize("name", ["cls_token", "cnn_qdq", "dropout_mask", "fp16_reducemean", "if_static", "lstm"])
def test_cases_that_showed_faults(name: str, tmp_path: Path) -> None:
    path = Path(__file__).resolve().parents[3] / "shared" / "cases" / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"no case at {path}")
    ready = prepare(path)
    reference = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for mine, theirs in zip(run(ready, tmp_path), reference.run(None, ready.inputs), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3)
