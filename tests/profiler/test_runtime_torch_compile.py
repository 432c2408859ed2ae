"""The runtime `torch-compile`: what inductor makes of a model, in which precision and with how many threads.

Compiling takes seconds a kernel, so that all tests share one cache and a few small models.
"""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import device_profiles
from device_profiles.errors import DeviceError, InvalidModel, UnsupportedOperator, UsageError
from profiler import compilers, runtimes
from profiler.events import ModelsConverted
from profiler.fusing import read_fused
from profiler.onnx_graph import read_graph
from profiler.proofs import precision_of, require_precision
from profiler.runtimes.protocol import RuntimeOptions
from profiler.subjects import from_bytes
from profiler.testing import convolution
from profiler.travelling import Travelling
from profiler.work import graph_macs, macs

pytestmark = pytest.mark.slow  # a minute; the conformance kit runs always


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("HWNAS_CACHE", str(folder))
        yield folder


def network(batch):
    """Two convolutions, one of them depthwise, with a residual sum, HardSwish, pooling and Gemm."""
    rng = np.random.default_rng(3)

    def weight(name, *shape):
        return numpy_helper.from_array((rng.standard_normal(shape) * 0.3).astype(np.float32), name)

    window = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="conv", strides=[2, 2], **window),
        helper.make_node("HardSwish", ["c1"], ["h1"], name="swish"),
        helper.make_node("Conv", ["h1", "w2"], ["c2"], name="depthwise", group=16, **window),
        helper.make_node("Add", ["c2", "h1"], ["a"], name="add"),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], name="gemm", transB=1),
    ]
    weights = [weight("w1", 16, 3, 3, 3), weight("b1", 16), weight("w2", 16, 1, 3, 3), weight("w3", 20, 16)]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (batch, 3, 16, 16))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (batch, 20))],
        [*weights, weight("b3", 20)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


class Made:
    """A model compiled once."""

    def __init__(self, folder, batch=1, **options):
        self.options = RuntimeOptions(**options)
        self.model = folder / "model.onnx"
        self.model.write_bytes(network(batch).SerializeToString())
        self.archive = compilers.load("torch-compile").compile(self.model, self.options)
        self.runtime = runtimes.load("torch-compile")
        self.graph = read_fused(self.runtime.fuse(self.archive, self.options), "torch-compile")
        self.session = self.runtime.load(self.archive, self.options)

    def far(self):
        feed = {"x": np.random.default_rng(0).standard_normal((self.options_batch, 3, 16, 16)).astype(np.float32)}
        expected = ReferenceEvaluator(str(self.model)).run(None, feed)[0]
        return float(np.abs(self.session.outputs()[0] - expected).max() / np.abs(expected).max())

    @property
    def options_batch(self):
        return read_graph(self.model).inputs[0][1].shape[0]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("frozen"), threads=2, options={"freezing": 1})


@pytest.fixture(scope="module")
def lower(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("lower"), batch=2, precision="bf16")


def kinds(made):
    return [(node.name, node.operator.op_type, node.operator.attribute("fused", ())) for node in made.graph.nodes]


def test_kernels_are_those_of_inductor_with_the_operators_that_went_in(plain):
    assert kinds(plain) == [
        ("conv/reorder", "Reorder", ()),
        ("conv", "Conv", ()),
        ("swish", "HardSwish", ()),
        ("depthwise", "Conv", ()),
        ("pool", "GlobalAveragePool", ("Add", "Relu")),
        ("gemm", "Gemm", ()),
    ]
    primitives = [node.operator.attribute("primitive") for node in plain.graph.nodes]
    assert primitives[1] == "extern_kernels.convolution" and primitives[2] == "cpp"
    assert plain.far() < 1e-5


def test_its_products_have_weights_as_onnx_has_them(plain):
    depthwise = plain.graph.nodes[3].operator
    assert [(tensor.shape, tensor.constant) for tensor in depthwise.inputs] == [
        ((1, 16, 8, 8), False),
        ((16, 1, 3, 3), True),
    ]
    assert graph_macs(plain.graph) == graph_macs(read_graph(plain.model))


@pytest.mark.parametrize("name", ["plain", "frozen", "lower"])
def test_a_profile_speaks_of_the_kernels(name, request):
    made = request.getfixturevalue(name)
    profile = made.session.profile(3)
    expected = [(node.name, node.operator.op_type) for node in made.graph.nodes]
    assert [(kernel.node, kernel.op_type) for kernel in profile.kernels] == expected
    assert 0 < sum(kernel.mean_ns for kernel in profile.kernels) < profile.run_ns


def test_frozen_weights_are_folded_and_what_runs_behind_a_convolution_is_named(frozen):
    found = {name: (kind, fused) for name, kind, fused in kinds(frozen)}
    assert found["conv"] == ("Conv", ("HardSwish",)) and found["depthwise"] == ("Conv", ("Add", "Relu"))
    assert graph_macs(frozen.graph) == graph_macs(read_graph(frozen.model)) and frozen.far() < 1e-5


def test_threads_are_those_that_were_asked_for(frozen, plain, cache):
    """Inductor writes their number into the code; one thread has no parallel section."""
    import torch

    assert torch.get_num_threads() >= 1
    sources = [path.read_text() for path in cache.rglob("*.main.cpp")]
    assert sources
    assert {word for text in sources for word in ("num_threads(1)", "num_threads(2)") if word in text} <= {
        "num_threads(2)"
    }


def test_bf16_is_bf16_from_end_to_end(lower):
    require_precision(lower.graph, "bf16", read_graph(lower.model), "model")
    products = [node.operator for node in lower.graph.nodes if macs(node.operator)]
    assert {precision_of(operator) for operator in products} == {"bf16"}
    assert {tensor.dtype for operator in products for tensor in operator.inputs} == {"bfloat16"}
    assert 1e-5 < lower.far() < 5e-2


def test_campaigns_have_caches_of_their_own_and_a_second_session_takes_what_the_first_made(plain, frozen, cache):
    folders = [path for path in (cache / "inductor").iterdir() if (path / "kernels").exists()]
    assert len(folders) >= 2, "one for each set of conditions"
    kept = [path for folder in folders for path in (folder / "kernels").iterdir()]
    before = {path: path.stat().st_mtime_ns for path in kept}
    plain.runtime.load(plain.archive, plain.options).run()
    assert before == {path: path.stat().st_mtime_ns for path in kept}
    assert all(json.loads(path.read_text())["events"] for path in kept)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"options": {"mode": "reduce-overhead"}}, "mode"),
        ({"options": {"freezing": 2}}, "freezing"),
        ({"options": {"backend": "eager"}}, "no option"),
        ({"precision": "fp16"}, "fp32, bf16"),
        ({"optimisation": "none"}, "no optimisation level"),
    ],
)
def test_options_out_of_range_are_refused(given, words, plain):
    with pytest.raises(UsageError, match=words):
        plain.runtime.load(plain.archive, RuntimeOptions(**given))


def test_bad_models_are_refused(tmp_path, plain):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    (tmp_path / "odd.onnx").write_bytes(convolution("NoSuchOperator"))
    compiler = compilers.load("torch-compile")
    with pytest.raises(InvalidModel):
        compiler.compile(tmp_path / "bad.onnx", RuntimeOptions())
    with pytest.raises(UnsupportedOperator, match="NoSuchOperator"):
        compiler.compile(tmp_path / "odd.onnx", RuntimeOptions())
    with pytest.raises(InvalidModel, match="no exported program"):
        plain.runtime.load(tmp_path / "bad.onnx", RuntimeOptions())
    with pytest.raises(InvalidModel, match="nothing for its input"):
        plain.runtime.load(plain.archive, plain.options, {"y": np.zeros(3)})
    with pytest.raises(UsageError, match="is \\(1, 3, 16, 16\\)"):
        plain.runtime.load(plain.archive, plain.options, {"x": np.zeros(3)})


def test_without_a_compiler_the_runtime_says_so(monkeypatch):
    from torch._inductor import cpp_builder

    def none():
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    with pytest.raises(DeviceError, match="needs a C\\+\\+ compiler") as error:
        runtimes.load("torch-compile")
    assert "apt install g++" in error.value.hint


def test_networks_of_a_campaign_are_compiled_beforehand_in_other_processes(plain, cache, tmp_path):
    """What those refuse is told of by whoever asks for it."""
    target, told = device_profiles.load("local-torch-compile"), []
    good = from_bytes(network(3).SerializeToString(), name="good")
    odd = from_bytes(convolution("NoSuchOperator"), name="odd")
    kept = set(cache.rglob("kernels/*"))
    travelling = Travelling(target, tmp_path)
    travelling.compile([good, odd], told.append)
    assert told == [ModelsConverted(1, 1)]
    compiled = set(cache.rglob("kernels/*"))
    assert len(compiled - kept) == 1
    assert [node.name for node in travelling.graph(good).nodes] == [node.name for node in plain.graph.nodes]
    assert set(cache.rglob("kernels/*")) == compiled
    with pytest.raises(UnsupportedOperator, match="NoSuchOperator"):
        travelling.graph(odd)
