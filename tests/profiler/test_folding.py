"""Networks that are stitched with their batch norms inside of convolutions are compiled to the same kernels."""

import hashlib
import re
from collections import Counter

import numpy as np
import onnx
import pytest
from torch import nn

import nas
from benchmarks.matrix import SMALL
from profiler import compiling, runtimes
from profiler.assembly import INPUT, Assembly, Block
from profiler.capture import BlockCache, stitch_for_compiling
from profiler.folding import folded
from profiler.fusing import read_fused
from profiler.runtimes.protocol import RuntimeOptions

SHAPE = (1, 8, 6, 6)
#: Spaces that are tried each time.
QUICKLY = ("nasbench201", "chain", "nsganet-macro")
FOLDING = [name for name in runtimes.names() if runtimes.REGISTRY.get(name).traits.folds]


class Twice(nn.Module):
    """A convolution that more than its batch norm reads."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)

    def forward(self, x):
        made = self.conv(x)
        return self.norm(made) + made


def sequence(*layers):
    return lambda: nn.Sequential(*layers)


#: Blocks, and the operators that are left of them.
BLOCKS = {
    "plain": (sequence(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)), "Relu Conv"),
    "with a bias": (sequence(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU()), "Conv Relu"),
    "grouped": (sequence(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8)), "Conv"),
    "several": (sequence(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)), "Conv Conv"),
    "alone": (sequence(nn.BatchNorm2d(8), nn.ReLU()), "BatchNormalization Relu"),
    "before": (sequence(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)), "BatchNormalization Conv"),
    "between": (sequence(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.BatchNorm2d(8)), "Conv Relu BatchNormalization"),
    "transposed": (sequence(nn.ConvTranspose2d(8, 8, 1), nn.BatchNorm2d(8)), "ConvTranspose BatchNormalization"),
    "read twice": (Twice, "Conv BatchNormalization Add"),
}


def network(*keys):
    blocks = [Block(f"b{i}", key, (f"b{i - 1}" if i else INPUT,), BLOCKS[key][0]) for i, key in enumerate(keys)]
    return Assembly(tuple(blocks), SHAPE)


def kernels(graph):
    """Each kernel with all that leads to it, however they are ordered, and the block that it is named after."""
    made, found = {}, Counter()
    for node in graph.nodes:
        pairs = zip(node.inputs, node.operator.inputs, strict=True)
        read = [made.get(name, name) for name, tensor in pairs if tensor is not None and not tensor.constant]
        said = hashlib.sha256(repr((node.operator, re.sub(r"_token_\d+$", "", node.name), read)).encode()).hexdigest()
        made |= {name: f"{said} {number}" for number, name in enumerate(node.outputs)}
        found[said] += 1
    return found


def compiled(assembly, runtime, options, blocks, path, *, fold):
    path.write_bytes(stitch_for_compiling(assembly, blocks, fold=fold))
    return kernels(read_fused(runtimes.load(runtime).fuse(path, options), runtime))


@pytest.mark.parametrize("key", BLOCKS)
def test_what_is_left_of_a_block_is_a_network(key):
    blocks = BlockCache(None)
    model = onnx.ModelProto.FromString(stitch_for_compiling(network("plain", key), blocks, fold=True))
    onnx.checker.check_model(model, full_check=True)
    kinds, left = "Relu Conv BatchNormalization", BLOCKS[key][1]
    assert [node.op_type for node in model.graph.node] == f"{kinds} {left}".split(), "but that of the first is left"
    read = {name for node in model.graph.node for name in node.input}
    assert {weight.name for weight in model.graph.initializer} <= read, "nothing is unread"
    block = blocks.get(network(key).blocks[0], [SHAPE])
    assert [node.op_type for node in folded(block).nodes] == left.split()
    assert (folded(block) is block) == (len(block.nodes) == len(left.split()))


@pytest.mark.parametrize("level", ["all", "basic"])
@pytest.mark.parametrize("runtime", FOLDING)
def test_the_runtime_makes_the_same_of_it(runtime, level, tmp_path):
    options, blocks = RuntimeOptions(optimisation=level), BlockCache(None)
    for keys in (*[(key,) for key in BLOCKS], tuple(BLOCKS), ("plain", "plain", "plain"), ("with a bias", "alone")):
        whole, part = (
            compiled(network(*keys), runtime, options, blocks, tmp_path / "network.onnx", fold=fold)
            for fold in (False, True)
        )
        assert whole == part, keys


@pytest.mark.parametrize("runtime", FOLDING)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICKLY else pytest.mark.slow) for name in nas.spaces.names()]
)
def test_networks_of_every_space_are_compiled_to_the_same_kernels(name, runtime, tmp_path):
    space, blocks = nas.spaces.load(SMALL[name]), BlockCache.default()
    assemblies = [space.assembly(arch) for arch in space.sample(4, np.random.default_rng(6))]
    compiling.export_blocks(assemblies)
    for assembly in assemblies:
        whole, part = (
            compiled(assembly, runtime, RuntimeOptions(), blocks, tmp_path / "network.onnx", fold=fold)
            for fold in (False, True)
        )
        assert whole == part


def test_only_a_runtime_that_folds_is_given_such_networks():
    assert "onnxruntime" in FOLDING
    asked = {
        ("onnxruntime", "fp32", "all"): True, ("onnxruntime", "fp32", "none"): False,
        ("onnxruntime", "int8", "all"): False, ("torch", "fp32", "all"): False,
    }  # fmt: skip
    for (runtime, precision, level), expected in asked.items():
        assert compiling.folds(runtime, RuntimeOptions(precision=precision, optimisation=level)) == expected
