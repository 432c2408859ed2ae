"""Families of networks: equal seeds give equal networks, all distinct, and what is stitched is what torch runs."""

from collections import Counter

import numpy as np
import onnxruntime
import pytest
import torch

import device_profiles
import nas
from benchmarks import families
from device_profiles.errors import UnknownName, UsageError
from nas.spaces.export import subject
from profiler.capture import BlockCache, random_parameter, stitch
from profiler.fusing import fused_graph
from profiler.subjects import from_bytes

FAMILIES = families.names()
#: Tried each time.
QUICK = ("nasbench201", "transformer")
#: A kernel that every network of a family has, as ONNX Runtime names it.
SIGNS = {
    "efficientnet": "com.microsoft:QuickGelu",
    "mobilenetv3": "com.microsoft.nchwc:Conv",
    "nasbench201": "com.microsoft.nchwc:Conv",
    "resnet": "com.microsoft.nchwc:Conv",
    "transformer": "Softmax",
}


def smallest(family):
    """The network with the fewest distinct blocks among the first 40, so that a test exports little."""
    return min(families.architectures(family, 40, 0), key=lambda a: (len(distinct_blocks(a)), len(a.assembly.blocks)))


def distinct_blocks(architecture):
    return {block.key for block in architecture.assembly.blocks}


def trained(assembly):
    """The module with parameters as training leaves them: fresh ones leave hardly more than the last bias."""
    module, rng = assembly.to_module().eval(), np.random.default_rng(3)
    state = module.state_dict()
    drawn = {name: random_parameter(name, tuple(value.shape), rng) for name, value in state.items()}
    module.load_state_dict({name: torch.from_numpy(drawn[name]).to(value.dtype) for name, value in state.items()})
    return module


def kernels(content, folder):
    path = folder / "network.onnx"
    path.write_bytes(content)
    return Counter(op.kind for op in fused_graph(path, device_profiles.load("local-onnxruntime")).operators)


def test_the_families():
    assert FAMILIES == ["efficientnet", "mobilenetv3", "nasbench201", "resnet", "transformer"]
    with pytest.raises(UnknownName, match="resnett"):
        families.architectures("resnett", 3, 0)


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (-1, 0), (3, -1)])
def test_numbers_out_of_range_are_refused(n, seed):
    with pytest.raises(UsageError, match=f"n={n} and seed={seed}"):
        families.architectures("resnet", n, seed)


def test_a_family_that_is_too_small_says_how_many_it_has(monkeypatch):
    monkeypatch.setitem(families._FAMILIES, "pair", lambda rng: iter([first, second] * 2000))
    first, second = families.architectures("resnet", 2, 0)
    assert families.architectures("pair", 2, 0) == [first, second]
    with pytest.raises(UsageError, match="2 distinct networks of 3"):
        families.architectures("pair", 3, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_seeds_give_equal_networks(family):
    def described(n, seed):
        return [(a.name, a.assembly.key) for a in families.architectures(family, n, seed)]

    assert described(40, 0) == described(40, 0)
    assert described(40, 0)[:10] == described(10, 0)
    assert described(40, 0) != described(40, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_are_distinct_and_made_of_few_blocks(family):
    found = families.architectures(family, 40, 0)
    assert len({a.name for a in found}) == len({a.assembly.key for a in found}) == 40
    assert len(set().union(*map(distinct_blocks, found))) <= 70
    assert all(len(a.assembly.blocks) >= 4 for a in found)


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def test_what_is_stitched_computes_what_torch_does(family, tmp_path):
    assembly = smallest(family).assembly
    module = trained(assembly)
    content = stitch(assembly, BlockCache.default(), module=module).SerializeToString()
    x = np.random.default_rng(0).standard_normal(assembly.input_shape).astype(np.float32)
    with torch.no_grad():
        expected, other = module(torch.from_numpy(x)).numpy(), module(torch.from_numpy(-x)).numpy()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"input": x})
    error, scale, from_input = (float(np.abs(d).max()) for d in (got - expected, expected, expected - other))
    assert np.isfinite(got).all() and error <= 1e-4 * scale
    assert error <= 0.01 * from_input, "as far off as if the input were another: deep gates leave little of it"
    assert SIGNS[family] in kernels(content, tmp_path)


@pytest.mark.slow
def test_a_subject_is_the_network_that_it_names(monkeypatch):
    chosen = [smallest("resnet"), smallest("transformer")]
    monkeypatch.setitem(families._FAMILIES, "pair", lambda rng: iter(chosen))
    found = families.sample("pair", 2, 0)
    assert [s.name for s in found] == [a.name for a in chosen]
    assert [s.id for s in found] == [from_bytes(s.onnx(), name=s.name).id for s in found]
    assert found[0].onnx() == found[0].onnx()
    assert [(s.space, s.arch, s.kernel) for s in found] == [(None, None, None)] * 2


@pytest.mark.slow
def test_cells_are_those_of_the_space():
    (found,) = families.sample("nasbench201", 1, 0)
    space = nas.spaces.load("nasbench201")
    expected = subject(space, space.parse(found.name))
    assert (found.id, found.space, found.arch) == (expected.id, expected.space, expected.arch)
    assert found.onnx() == expected.onnx()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_network_compiles_into_many_kinds_of_work(family, tmp_path):
    target, distinct = device_profiles.load("local-onnxruntime"), set()
    subjects = families.sample(family, 40, 0)
    for found in subjects:
        path = tmp_path / "network.onnx"
        path.write_bytes(found.onnx())
        distinct |= set(fused_graph(path, target).operators)
    assert len({found.id for found in subjects}) == 40
    assert len(distinct) >= 40
