"""The batch is a dimension of the model: asked for, checked, and told with what it gives in a second."""

import json

import numpy as np
import pytest

import device_profiles
import nas
from benchmarks.matrix import SMALL
from device_profiles.errors import UsageError
from hwnas_cli.model_files import batches_of
from nas.spaces.export import onnx_bytes, subject
from profiler import Budget, Store, measure
from profiler.onnx_graph import read_graph
from profiler.subjects import batch_of, from_bytes
from profiler.work import graph_work

FAKE = device_profiles.load("fake")
#: Spaces that are tried each time.
QUICKLY = ("nasbench201",)
QUICK = Budget(rounds=3, device_s=1.0, profile_runs=0, memory=False)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICKLY else pytest.mark.slow) for name in nas.spaces.names()]
)
def test_every_space_makes_networks_of_any_batch(name: str) -> None:
    space = nas.spaces.load(SMALL[name])
    arch = space.sample(1, np.random.default_rng(1))[0]
    one, four = (read_graph(onnx_bytes(space, arch, batch=batch)) for batch in (1, 4))
    assert (batch_of(one), batch_of(four)) == (1, 4)
    assert graph_work(four).macs == 4 * graph_work(one).macs
    assert graph_work(four).parameters == graph_work(one).parameters


def test_a_model_of_another_batch_than_the_target_says_is_refused(tmp_path) -> None:
    space = nas.spaces.load("nasbench201")
    arch = space.sample(1, np.random.default_rng(0))[0]
    target = FAKE.model_copy(update={"batch": 4})
    with Store(tmp_path / "a.db") as store:
        outcome = measure(
            [subject(space, arch), subject(space, arch, batch=4)], target=target, store=store, budget=QUICK
        )
    (measured,), (failed,) = outcome.measurements, outcome.failures
    assert measured.batch == 4 and failed.kind == "InvalidModel"
    assert "batch 1" in failed.reason and "batch 4" in failed.reason and failed.hint


def test_throughput_is_told_where_there_are_several_inputs(tmp_path) -> None:
    space = nas.spaces.load("nasbench201")
    arch = space.sample(1, np.random.default_rng(0))[0]
    with Store(tmp_path / "a.db") as store:
        outcome = measure(
            [subject(space, arch, batch=batch) for batch in (1, 8)], target=FAKE, store=store, budget=QUICK
        )
    one, eight = outcome.measurements
    assert (one.batch, eight.batch) == (1, 8)
    assert one.throughput_per_s is None and "throughput_per_s" not in one.to_plain()
    rate = json.loads(json.dumps(eight.to_plain()))["throughput_per_s"]
    assert rate["value"] == pytest.approx(8e3 / eight.latency.value_ms)
    assert rate["low"] <= rate["value"] <= rate["high"]


def test_inputs_that_disagree_have_no_batch() -> None:
    import onnx
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [2, 3]), ("y", [1, 3]))]
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 3])
    graph = helper.make_graph([helper.make_node("Add", ["x", "y"], ["z"])], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    assert batch_of(from_bytes(onnx.ModelProto.SerializeToString(model), name="two").graph) is None


def test_batches_are_read() -> None:
    assert batches_of(None, 4) == [4] and batches_of("8", 1) == [8] and batches_of("1,8,32", 1) == [1, 8, 32]


@pytest.mark.parametrize("text", ["", "0", "-1", "1,", "eight", "1,1", "1;2", "²", str(2**40)])
def test_other_batches_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--batch") as caught:
        batches_of(text, 1)
    assert caught.value.hint
