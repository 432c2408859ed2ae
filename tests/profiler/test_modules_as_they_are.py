"""Torch modules measured as their users run them: eager by their factory, or compiled, without ONNX between."""

import pytest
import torch
from torch import nn

import hwnas
import profiler
import profiler.fusing
from device_profiles import profile
from device_profiles.errors import InvalidModel, UsageError
from profiler import modules, runtimes
from profiler.compilers import _exported
from profiler.onnx_graph import read_graph
from profiler.runtimes.protocol import RuntimeOptions
from profiler.work import graph_macs

BUDGET = profiler.Budget(max_processes=3, rounds=3, profile_runs=2, memory=False, spread=1.0)
SOURCE = """
import torch
from torch import nn


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.Hardswish(), nn.Conv2d(8, 8, 3, groups=8),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )


def another():
    return nn.Linear(3, 4)


def branching():
    class Branching(nn.Module):
        def forward(self, x):
            return x + 1 if x.sum() > 0 else x - 1

    return Branching()
"""
IMAGE = torch.randn(1, 3, 16, 16)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """A folder with a module of the user's, that only this process finds."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        (folder / "hwnas_users_own.py").write_text(SOURCE)
        patch.syspath_prepend(str(folder))
        patch.setenv("HWNAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield folder


def own(name="network"):
    import hwnas_users_own

    return getattr(hwnas_users_own, name)()


def test_eager_operators_are_those_that_ran_in_the_words_of_onnx(tmp_path):
    module = own().eval()
    subject = modules.as_program(module, [IMAGE], runtime="torch", factory="hwnas_users_own:network")
    assert [operator.op_type for operator in subject.graph.operators] == [
        *("Conv", "BatchNormalization", "HardSwish", "Conv", "GlobalAveragePool", "Flatten", "Gemm")
    ]
    (tmp_path / "module.pt2").write_bytes(subject.onnx())
    session = runtimes.load("torch").load(tmp_path / "module.pt2", RuntimeOptions(), subject.inputs)
    with torch.inference_mode():
        assert torch.equal(torch.from_numpy(session.outputs()[0]), module(IMAGE)), "the same weights"
    profile = session.profile(3)
    assert [kernel.node for kernel in profile.kernels] == [node.name for node in subject.graph.nodes]
    assert all(kernel.mean_ns > 0 for kernel in profile.kernels)
    path = tmp_path / "module.onnx"
    torch.onnx.export(module, (IMAGE,), path, dynamo=True, verbose=False)
    assert graph_macs(subject.graph) == graph_macs(read_graph(path))


def test_one_line_measures_a_module_eagerly():
    module = own().train()
    found = hwnas.measure(module, IMAGE, target="local-torch", factory="hwnas_users_own:network", budget=BUDGET)
    assert found.latency.value_ms > 0 and found.latency.processes >= 3 and module.training


@pytest.mark.slow
def test_compiled_modules_have_the_kernels_of_inductor(tmp_path):
    target = profile.as_target("local-torch-compile")
    module = nn.Sequential(nn.Linear(32, 32), nn.Hardswish()).eval()
    graph, names = _exported.of_module(module, [torch.randn(2, 32)], tmp_path / "module.pt2")
    runtime = runtimes.load(target.runtime.name)
    fused = profiler.fusing.read_fused(runtime.fuse(tmp_path / "module.pt2", RuntimeOptions()), "torch-compile")
    assert [(node.name, node.operator.op_type) for node in fused.nodes] == [
        ("linear", "Gemm"),
        ("hardswish", "HardSwish"),
    ]
    assert graph_macs(fused) == graph_macs(graph) and names == [name for name, _ in graph.inputs]


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({}, UsageError, "made anew"),
        ({"factory": "no_such_module:network"}, UsageError, "cannot be imported"),
        ({"factory": "hwnas_users_own:nothing"}, UsageError, "cannot be imported"),
        ({"factory": "hwnas_users_own"}, UsageError, "cannot be imported"),
        ({"factory": "hwnas_users_own:another"}, InvalidModel, "does not make the module"),
    ],
)
def test_eager_modules_need_a_factory_that_makes_them(more, kind, words):
    with pytest.raises(kind, match=words):
        hwnas.measure(own(), IMAGE, target="local-torch", budget=BUDGET, **more)


def test_what_cannot_be_exported_is_refused_by_name():
    with pytest.raises(InvalidModel, match="cannot export Branching"):
        hwnas.measure(own("branching"), IMAGE, target="local-torch-compile", budget=BUDGET)


def test_tensors_tell_other_runtimes_the_shapes():
    assert hwnas.measure(own(), IMAGE, target="fake", budget=BUDGET).latency.value_ms > 0
