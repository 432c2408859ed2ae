"""Exported programs of ONNX files: what a file does not tell, the trace does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from device_profiles.errors import InvalidModel
from profiler.compilers import _exported
from profiler.compilers.torch_cuda import COMPILER
from profiler.onnx_graph import read_graph
from profiler.operators import OperatorGraph, operator_from_plain
from profiler.runtimes.protocol import RuntimeOptions


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Reshapes an input and a weight to shapes that float arithmetic makes of weights, which ONNX does not infer."""
    nodes = [
        helper.make_node("Round", ["floats"], ["rounded"], name="round"),
        helper.make_node("Cast", ["rounded"], ["shape"], name="cast", to=TensorProto.INT64),
        helper.make_node("Reshape", ["w", "shape"], ["square"], name="constant"),
        helper.make_node("Reshape", ["x", "shape"], ["live"], name="live"),
        helper.make_node("Relu", ["live"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "square"], ["y"], name="product"),
    ]
    weights = [
        numpy_helper.from_array(np.array([2.2, 1.8], np.float32), "floats"),
        numpy_helper.from_array(np.arange(4, dtype=np.float32), "w"),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 4]), ("y", [2, 2]))]
    graph = helper.make_graph(nodes, "computed", ends[:1], ends[1:], weights)
    path = tmp_path / "computed.onnx"
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(made.SerializeToString())
    return path


def test_shapes_that_a_file_does_not_tell_are_those_of_the_trace(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="cannot be inferred"):
        read_graph(model)
    import torch

    made = _exported.of_onnx(model, tmp_path / "computed.pt2", "fp32")
    beside = {_exported.BESIDE: ""}
    torch.export.load(made, extra_files=beside)
    nodes = {name: operator_from_plain(plain) for name, plain, _ in json.loads(beside[_exported.BESIDE])["nodes"]}
    assert [tensor.shape for tensor in nodes["relu"].outputs] == [(2, 2)]
    assert [tensor.shape for tensor in nodes["product"].inputs if tensor is not None] == [(2, 2), (2, 2)]


def test_what_runs_on_a_gpu_has_them_too(model: Path) -> None:
    import torch

    made = COMPILER().compile(model, RuntimeOptions(precision="fp16"))
    beside = {_exported.BESIDE: ""}
    torch.export.load(made, extra_files=beside)
    graph = OperatorGraph.from_json(json.loads(beside[_exported.BESIDE])["graph"])
    assert [tensor.shape for node in graph.nodes for tensor in node.operator.outputs] == [(2, 2)] * 3
    assert {tensor.dtype for node in graph.nodes for tensor in node.operator.outputs} == {"float16"}
