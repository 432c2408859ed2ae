"""What spaces say of the parts of many networks at once, held against their assemblies, block by block."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import nas
from nas.spaces.motifs.cell import PRIMITIVES
from nas.spaces.nasbot.network import KINDS
from profiler.assembly import Merged

TALLYING = ["motifs", "motifs:motifs=3,nodes=3,cell_nodes=4", "nasbot", "nasbot:resolution=36,layers=5,steps=2"]


def some(space, count=150):
    archs = space.sample(count, np.random.default_rng(3))
    return archs[space.is_valid(archs)]


def parts(space, archs):
    """How often each genome has each part, `(n, parts)`, 0 left out."""
    numbers, times = space.tally(archs)
    found = np.zeros((len(archs), space.tallied))
    for slot, row in enumerate(numbers):
        np.add.at(found, (np.arange(len(archs)), row), 1.0 if times is None else times[slot])
    return found[:, 1:]


def distinct(assembly, prefix):
    """Blocks of a part of a network by the second word of their keys, those of one value once."""
    merged, seen = Merged(), {}
    for block in assembly.blocks:
        weighted = not block.key.startswith(("motif max3", "motif avg3", "motif add"))
        first = merged.add(block, weighted=weighted)
        if block.name.startswith(prefix):
            seen[first] = block.key.split()[1]
    return Counter(seen.values())


@pytest.mark.parametrize("spec", TALLYING)
def test_numbers_are_those_of_parts(spec):
    space = nas.spaces.load(spec)
    archs = space.sample(50, np.random.default_rng(0))
    numbers, times = space.tally(archs)
    assert numbers.shape[1] == len(archs) and numbers.min() >= 0 and numbers.max() < space.tallied
    assert times is None or times.shape == numbers.shape
    np.testing.assert_array_equal(parts(space, archs[:7]), parts(space, archs)[:7])  # rows know nothing of each other
    assert space.tally(archs[:0])[0].shape == (len(numbers), 0)


@pytest.mark.parametrize("spec", TALLYING[:2])
def test_motifs_have_the_operators_of_their_assemblies(spec):
    space = nas.spaces.load(spec)
    archs = some(space)
    kinds = [*PRIMITIVES[1:-1], "add"]
    expected = []
    for arch in archs:
        blocks = distinct(space.assembly(arch), "s1c0")
        expected.append([1, *(blocks[kind] for kind in kinds)])
    found = parts(space, archs)
    np.testing.assert_array_equal(found[:, :4], np.array(expected)[:, :4])
    # A sum of the same in another order is the same here, and another block there.
    assert (np.abs(found - expected)[:, 4:].sum(axis=1) > 0).mean() < 0.05
    assert (found[:, 4:] <= np.array(expected)[:, 4:]).all()


@pytest.mark.parametrize("spec", TALLYING[2:])
def test_nasbot_has_the_layers_and_joints_of_its_assemblies(spec):
    space = nas.spaces.load(spec)
    sizes = space._sizes
    for arch in some(space, 60):
        (row,) = parts(space, arch[None])
        found = dict(zip(sizes.groups, np.split(row, np.cumsum(list(sizes.groups.values()))[:-1]), strict=True))
        assembly = space.assembly(arch)
        blocks = Counter(block.key.split()[1] for block in assembly.blocks)
        kinds = found["layers"].reshape(-1, sizes.steps * sizes.levels).sum(axis=1)
        skip = KINDS.index("skip")
        assert [kinds[i] for i in range(len(KINDS)) if i != skip] == [blocks[k] for k in KINDS if k != "skip"]
        assert found["projections"].sum() == blocks["project"] and found["maps"].sum() == blocks["linear"]
        means = {(block.key, block.inputs) for block in assembly.blocks if block.key.startswith("nasbot mean")}
        assert len(means) <= found["means"].sum() <= blocks["mean"], "one for all that read a layer"
        assert kinds[skip] or found["means"].sum() == len(means), "skips may be wires, whose readers read another layer"
        assert found["sums"].sum() + found["totals"].sum() == blocks["add"] and found["ends"].sum() == 1
        assert found["readers"].sum() == found["layers"].sum()


@pytest.mark.parametrize("spec", TALLYING[2:])
def test_networks_that_differ_in_the_order_of_their_layers_are_made_of_the_same(spec):
    space = nas.spaces.load(spec)
    archs = some(space)
    np.testing.assert_array_equal(parts(space, archs), parts(space, space.canonical(archs)))


@pytest.mark.parametrize("spec", TALLYING[2:])
def test_constant_networks_have_no_parts(spec):
    space = nas.spaces.load(spec)
    archs = space.sample(200, np.random.default_rng(1))
    archs[::2] = 0
    constant = archs[~space.is_valid(archs)]
    assert len(constant) and not parts(space, constant).any()
