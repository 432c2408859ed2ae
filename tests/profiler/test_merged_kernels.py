"""Networks that are compiled with few weights run the same kernels as those whose blocks all have weights of their own.

A runtime runs one kernel for nodes that compute the same. Where it finds two values to be one, whatever reads them with
the same weights is one, too, which no trained network would be.
"""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from torch import nn

import nas
from profiler.assembly import INPUT, Assembly, Block, Merged
from profiler.capture import BlockCache, stitch

SHAPE = (1, 8, 6, 6)


def kernels(model, folder):
    """How often the compiled model runs each operator."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.optimized_model_filepath = str(folder / "compiled.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "compiled.onnx").graph.node)


class Sum(nn.Module):
    def forward(self, first, second):
        return first + second


def pool(name, source):
    return Block(name, "pool", (source,), lambda: nn.MaxPool2d(3, 1, 1))


def conv(name, source):
    return Block(name, "conv", (source,), lambda: nn.Conv2d(8, 8, 3, padding=1, bias=False))


def add(name, *sources):
    return Block(name, "add", sources, Sum)


def nothing(name, source):
    return Block(name, "nothing", (source,), nn.Identity)


#: Convolutions that read what two blocks make, which give the same: straight, over a chain, over a sum, over wires.
CASES = {
    "straight": ((pool("p", INPUT), pool("q", INPUT)), "p", "q"),
    "chain": ((pool("p", INPUT), pool("q", INPUT), pool("r", "p"), pool("s", "q")), "r", "s"),
    "sum": ((pool("p", INPUT), pool("q", INPUT), add("a", "p", "q"), add("b", "q", "p")), "a", "b"),
    "wires": ((pool("p", INPUT), nothing("n", "p"), nothing("m", "p")), "n", "m"),
    "one wire": ((pool("p", INPUT), nothing("n", "p")), "n", "p"),
}


@pytest.mark.parametrize("case", CASES)
def test_equal_blocks_that_read_what_is_found_to_be_equal_have_other_weights(case, tmp_path):
    before, first, second = CASES[case]
    assembly = Assembly((*before, conv("c", first), conv("d", second), add("out", "c", "d")), SHAPE)
    blocks = BlockCache(None)
    own, few = (kernels(stitch(assembly, blocks, shared=shared), tmp_path) for shared in (False, True))
    assert few == own and own["Conv"] == 2
    assert own["MaxPool"] < sum(block.key == "pool" for block in before) + (case in ("wires", "one wire"))


@pytest.mark.parametrize(
    "spec", ["motifs", "nasbot", "nsganet-micro:layers=3", "darts:layers=3", "nasbench201:cells=1"]
)
def test_networks_of_spaces_run_the_same_kernels(spec, tmp_path):
    space, blocks = nas.spaces.load(spec), BlockCache.default()
    for arch in space.canonical(space.sample(3, np.random.default_rng(4))):
        assembly = space.assembly(arch)
        assert kernels(stitch(assembly, blocks, shared=True), tmp_path) == kernels(stitch(assembly, blocks), tmp_path)


def test_a_cell_whose_two_pools_are_one(tmp_path):
    space = nas.spaces.load("motifs:motifs=2,nodes=3,cell_nodes=3")
    arch = space.parse("m1(01:max3+12:separable3) m2(01:max3+12:separable3+02:max3) cell(01:m1+02:m2+12:m1)")
    assembly = space.assembly(space.canonical(arch[None])[0])
    blocks = BlockCache.default()
    own, few = (kernels(stitch(assembly, blocks, shared=shared), tmp_path) for shared in (False, True))
    assert few == own


def test_merged_by_hand():
    merged = Merged()
    for block, weighted in ((pool("p", INPUT), False), (pool("q", INPUT), False), (conv("c", "q"), True)):
        merged.add(block, weighted=weighted)
    assert merged.add(pool("r", "c"), weighted=False) == "r"
    assert merged.add(nothing("n", "q"), weighted=False, wire=0) == "p"
    assert merged.of == {INPUT: INPUT, "p": "p", "q": "p", "c": "c", "r": "r", "n": "p"}
