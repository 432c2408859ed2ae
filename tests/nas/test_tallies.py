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
    bounds = np.cumsum([0, sizes.joints, sizes.meetings, sizes.layers, sizes.sums, sizes.maps])
    for arch in some(space, 60):
        (found,) = parts(space, arch[None])
        joints, meetings, layers, sums, maps, ends = np.split(found, bounds[1:])
        blocks = Counter(block.key.split()[1] for block in space.assembly(arch).blocks)
        by_kind = layers.reshape(len(KINDS), -1).sum(axis=1)
        expected = [blocks[kind] for kind in KINDS]
        assert by_kind[: len(KINDS) - 3].tolist() == expected[: len(KINDS) - 3]
        assert by_kind[-2:].tolist() == expected[-2:]
        assert joints.sum() == meetings.sum() and ends.sum() == 1
        # Joints by width of what is read and of what reads: those of one width need no convolution.
        widths = joints.reshape(sizes.steps + 1, sizes.steps, -1).sum(axis=2)
        assert widths.sum() - np.trace(widths) == blocks["project"]
        levels = joints.reshape(-1, sizes.levels, sizes.levels).sum(axis=0)
        assert levels.sum() - np.trace(levels) == blocks["mean"] and not np.tril(levels, -1).any()
        adds = (sums.reshape(-1, sizes.terms).sum(axis=0) * (np.arange(sizes.terms) - 1)).sum()
        adds += (ends.reshape(-1, sizes.terms).sum(axis=0) * (np.arange(sizes.terms) - 1)).sum()
        assert adds == blocks["add"] and maps.sum() == blocks["linear"] == blocks["flatten"]


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
