"""One export of a block serves other shapes only where it says the same as an export for them."""

from __future__ import annotations

import pytest
from torch import nn

from profiler.assembly import INPUT, Assembly, Block
from profiler.block_traces import Shapes, trace
from profiler.capture import BlockCache, stitch


class Branch(nn.Module):
    """Does something else where the image is small."""

    def forward(self, x):
        return x.relu() if x.shape[2] < 6 else x.sigmoid() * 2


MODULES = {
    "a convolution": (lambda: nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)), True),
    "a global average": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)), True),
    "a shuffle of channels": (lambda: nn.ChannelShuffle(2), False),
    "an average to a size": (lambda: nn.AdaptiveAvgPool2d(2), False),
    "a size that is fixed": (lambda: nn.Upsample(size=(5, 5), mode="bilinear"), None),
    "a branch": (Branch, False),
    "a flat view": (lambda: nn.Flatten(), False),
}
#: Those that are tried each time.
QUICKLY = ("a convolution", "a branch", "a flat view")
FIRST, OTHER = (1, 4, 12, 12), (1, 4, 4, 4)


def same(one, other):
    assert one.nodes == other.nodes and one.inputs == other.inputs and one.output == other.output
    assert one.output_shape == other.output_shape and one.shapes == other.shapes
    assert one.parameters == other.parameters and one.constants == other.constants


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICKLY else pytest.mark.slow) for name in MODULES]
)
def test_what_is_derived_is_what_is_exported(name, monkeypatch):
    build, derivable = MODULES[name]
    block = Block("b", f"test {name}", (INPUT,), build)
    cache = BlockCache(None)
    cache.get(block, [FIRST])
    exported = []
    whole = BlockCache._exported
    monkeypatch.setattr(BlockCache, "_exported", lambda self, *args: exported.append(1) or whole(self, *args))
    found = cache.get(block, [OTHER])
    if derivable is not None:
        assert bool(exported) is not derivable
    same(found, BlockCache(None).get(block, [OTHER]))


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_shuffle_before_a_stride_is_not_derived_wrongly(side):
    """What is behind it has the right shape whatever it does."""

    def build():
        return nn.Sequential(nn.ChannelShuffle(2), nn.Conv2d(4, 4, 3, stride=side + 1, padding=1))

    block, cache = Block("b", f"test shuffle {side}", (INPUT,), build), BlockCache(None)
    cache.get(block, [(1, 4, side, side)])
    same(cache.get(block, [(1, 4, side + 1, side + 1)]), BlockCache(None).get(block, [(1, 4, side + 1, side + 1)]))


def test_shapes_are_told_without_an_export():
    blocks = (
        Block("a", "test shapes conv", (INPUT,), lambda: nn.Conv2d(3, 8, 3, stride=2)),
        Block("b", "test shapes pool", ("a",), lambda: nn.MaxPool2d(2)),
    )
    assert Shapes(None).inputs(Assembly(blocks, (1, 3, 17, 17))) == (((1, 3, 17, 17),), ((1, 8, 8, 8),))


def test_a_module_that_needs_content_is_exported_for_each_shape():
    class Content(nn.Module):
        def forward(self, x):
            return x * float(x.mean() > 0)

    assert trace(Block("b", "test content", (INPUT,), Content), [(1, 2, 4, 4)], ["float32"]) is None


def test_caches_hold_no_weights(tmp_path):
    block = Block("b", "test weights", (INPUT,), lambda: nn.Linear(400, 400))
    cache = BlockCache(tmp_path)
    cache.get(block, [(1, 400)])
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size < 100_000
    again = stitch(Assembly((block,), (1, 400)), BlockCache(tmp_path))
    assert len(again.graph.initializer[0].raw_data) in (1600, 640_000)
