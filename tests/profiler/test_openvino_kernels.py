"""OpenVINO's layers are told by what they do, whatever it called them: their work is that of the model."""

from collections import Counter

import numpy as np
import pytest

import device_profiles
import nas
from profiler import catalogue, probes
from profiler.fusing import read_fused
from profiler.onnx_graph import read_graph
from profiler.runtimes.protocol import RuntimeOptions
from profiler.work import graph_macs, macs

pytest.importorskip("openvino", reason="pip install 'hwnas[openvino]'")

#: Probes, and how many computing kernels of each kind they have: recurrent in both directions, a product whose first
#: operand is transposed, attention in one layer, convolutions that OpenVINO renamed.
KERNELS = {
    14: {"LSTM": 2, "GRU": 2},
    15: {"Conv": 9, "ConvTranspose": 1},
    18: {"LSTM": 1, "Attention": 1},
    24: {"GRU": 2},
    43: {"LSTM": 2, "GRU": 1, "Attention": 1},
}


@pytest.mark.parametrize("number", KERNELS)
def test_kernels_do_the_work_of_their_model(number, tmp_path):
    from profiler.runtimes.openvino import OpenVino

    (probe,) = probes.probes(number + 1, 0)[number:]
    path = tmp_path / "probe.onnx"
    path.write_bytes(probe.onnx())
    graph = read_fused(OpenVino().fuse(path, RuntimeOptions()), "openvino")
    assert graph_macs(graph) == pytest.approx(graph_macs(read_graph(path)), rel=0.005)
    kinds = Counter(node.operator.op_type for node in graph.nodes if macs(node.operator))
    assert {kind: kinds[kind] for kind in KERNELS[number]} == KERNELS[number]
    values = {name for node in graph.nodes for name in node.outputs}
    given = {name for name, _ in graph.inputs}
    read = {
        name
        for node in graph.nodes
        for name, tensor in zip(node.inputs, node.operator.inputs, strict=True)
        if tensor is not None and not tensor.constant
    }
    assert read <= values | given, "what is reordered keeps its names"


def test_networks_are_compiled_in_a_process_that_has_used_it(tmp_path):
    from profiler.runtimes.openvino import OpenVino

    (tmp_path / "probe.onnx").write_bytes(probes.probes(1, 0)[0].onnx())
    OpenVino().fuse(tmp_path / "probe.onnx", RuntimeOptions())
    assert not OpenVino().forks
    space = nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8")
    assemblies = [space.assembly(arch) for arch in space.sample(70, np.random.default_rng(0))]
    found = catalogue.compile_all(assemblies, device_profiles.load("local-openvino"), cache=tmp_path, workers=2)
    assert found.counts.any(axis=1).all()
