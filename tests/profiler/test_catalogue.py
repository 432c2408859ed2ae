"""Kernels of many networks as counts: the same as one by one, from anywhere."""

from __future__ import annotations

import itertools
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from device_profiles.errors import DeviceError, SchemaMismatch
from device_profiles.profile import Target, load
from profiler.assembly import INPUT, Assembly, Block
from profiler.capture import BlockCache, stitch
from profiler.catalogue import Catalogue, compile_all
from profiler.compiling import forked
from profiler.fusing import fused_graph
from profiler.operators import Operator

SHAPE = (1, 8, 4, 4)
ORT = load("local-onnxruntime")


def never() -> Any:
    raise AssertionError("nothing is built again")


KINDS = {
    "conv": lambda: nn.Conv2d(8, 8, 3, padding=1),
    "relu": nn.ReLU,
    "pool": lambda: nn.MaxPool2d(3, stride=1, padding=1),
}


def chain(kinds: Sequence[str], *, build: bool = True) -> Assembly:
    """Blocks one after the other."""
    names = [INPUT, *(f"b{number}" for number in range(len(kinds)))]
    blocks = [
        Block(name, kind, (source,), KINDS[kind] if build else never)
        for kind, source, name in zip(kinds, names, names[1:], strict=False)
    ]
    return Assembly(tuple(blocks), SHAPE)


#: All chains of one to four blocks: 3 + 9 + 27 + 81.
CHAINS = [kinds for length in range(1, 5) for kinds in itertools.product(KINDS, repeat=length)]


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the exports of all blocks, and no catalogue."""
    folder = tmp_path_factory.mktemp("warm")
    compile_all([chain(list(KINDS))], ORT, cache=folder, workers=1)
    shutil.rmtree(folder / "catalogues")
    return folder


@pytest.fixture
def cache(warm: Path, tmp_path: Path) -> Path:
    shutil.copytree(warm, tmp_path / "cache")
    return tmp_path / "cache"


def rows(catalogue: Catalogue) -> list[dict[Operator, int]]:
    assert catalogue.counts.shape[1] == len(catalogue.kernels) == len(set(catalogue.kernels))
    return [
        {kernel: int(uses) for kernel, uses in zip(catalogue.kernels, row, strict=True) if uses}
        for row in catalogue.counts
    ]


def one_by_one(kinds: Sequence[str], target: Target, cache: Path, folder: Path) -> Counter[Operator]:
    path = folder / "network.onnx"
    path.write_bytes(stitch(chain(kinds), BlockCache(cache / "blocks")).SerializeToString())
    return Counter(fused_graph(path, target).operators)


@pytest.mark.parametrize("name", ["local-onnxruntime", "fake"])
def test_counts_are_those_of_each_network_alone(cache: Path, tmp_path: Path, name: str) -> None:
    target, some = load(name), CHAINS[::7]
    found = rows(compile_all([chain(kinds) for kinds in some], target, cache=cache, workers=1))
    assert found == [one_by_one(kinds, target, cache, tmp_path) for kinds in some]
    kinds = {kernel.op_type for row in found for kernel in row}
    assert ("Relu" in kinds) and (name == "fake" or "Conv" in kinds)


@pytest.mark.parametrize("name", ["local-onnxruntime", "fake"])
def test_graphs_are_those_of_each_network_alone(cache: Path, tmp_path: Path, name: str) -> None:
    """Kernels, wiring, inputs and outputs; fresh and read back, whole or some of them in any order."""
    target, some = load(name), CHAINS[::7]
    networks = [chain(kinds) for kinds in some]
    fresh = compile_all(networks, target, cache=cache, workers=1)
    again = compile_all(networks, target, cache=cache, workers=1)
    path = tmp_path / "network.onnx"
    for row, kinds in enumerate(some):
        path.write_bytes(stitch(chain(kinds), BlockCache(cache / "blocks")).SerializeToString())
        alone = fused_graph(path, target)
        for found in (fresh.graphs([row])[0], again.graphs(range(len(some)))[row]):
            assert found.digest == alone.digest and found.operators == alone.operators
            assert found.runtime == alone.runtime == target.runtime.name
            assert [tensor for _, tensor in found.inputs] == [tensor for _, tensor in alone.inputs]
    assert again.runtime == fresh.runtime and again.inputs == fresh.inputs
    assert [wires.tolist() for wires in again.wires] == [wires.tolist() for wires in fresh.wires]
    assert [g.digest for g in again.graphs([3, 0, 3])] == [fresh.graphs([i])[0].digest for i in (3, 0, 3)]
    assert fresh.graphs([]) == []


def test_each_use_of_a_block_has_weights_of_its_own(cache: Path) -> None:
    """Two convolutions of one kind are two sets of weights, as in the network that is measured."""
    found = compile_all([chain(["conv", "relu", "conv"])], load("fake"), cache=cache, workers=1).graphs([0])[0]
    names = [
        name
        for node in found.nodes
        for name, tensor in zip(node.inputs, node.operator.inputs, strict=True)
        if tensor is not None and tensor.constant and len(tensor.shape) == 4
    ]
    assert len(names) == len(set(names)) == 2


def test_rows_are_in_the_order_of_the_networks(cache: Path) -> None:
    some = CHAINS[:9]
    forwards = compile_all([chain(kinds) for kinds in some], ORT, cache=cache, workers=1)
    backwards = compile_all([chain(kinds) for kinds in some[::-1]], ORT, cache=cache, workers=1)
    assert rows(backwards) == rows(forwards)[::-1]
    assert len({str(row) for row in rows(forwards)}) > 4


def test_a_network_that_comes_twice_has_two_rows(cache: Path) -> None:
    first, other = CHAINS[5], CHAINS[20]
    found = rows(compile_all([chain(first), chain(other), chain(first)], ORT, cache=cache, workers=1))
    assert found[0] == found[2] != found[1]


def test_one_worker_and_two_agree(cache: Path, tmp_path: Path) -> None:
    networks = [chain(kinds) for kinds in CHAINS]
    told: list[tuple[int, int]] = []
    one = compile_all(networks, ORT, cache=cache, workers=1)
    other = tmp_path / "other"
    shutil.copytree(cache / "blocks", other / "blocks")
    two = compile_all(networks, ORT, cache=other, workers=2, progress=lambda *now: told.append(now))
    assert two.kernels == one.kernels and np.array_equal(two.counts, one.counts)
    assert told == sorted(told) and len(told) > 1
    assert told[-1] == (len(networks), len(networks))


def test_a_second_time_is_read_and_says_the_same(cache: Path) -> None:
    some = CHAINS[:6]
    first = compile_all([chain(kinds) for kinds in some], ORT, cache=cache, workers=1)
    shutil.rmtree(cache / "blocks")
    told: list[tuple[int, int]] = []
    unbuilt = [chain(kinds, build=False) for kinds in some]
    second = compile_all(unbuilt, ORT, cache=cache, workers=1, progress=lambda *now: told.append(now))
    assert second.kernels == first.kernels and np.array_equal(second.counts, first.counts)
    assert second.counts.dtype == first.counts.dtype
    assert told == [(6, 6)]


def test_other_networks_and_other_options_are_not_taken_for_the_cached_ones(cache: Path) -> None:
    networks = [chain(["conv", "relu"])]
    plain = ORT.model_copy(update={"runtime": ORT.runtime.model_copy(update={"optimisation": "none"})})
    found = [rows(compile_all(networks, target, cache=cache, workers=1))[0] for target in (ORT, plain)]
    assert {kernel.op_type for kernel in found[1]} == {"Conv", "Relu"}
    assert {kernel.op_type for kernel in found[0]} != {"Conv", "Relu"}, "fused"
    assert rows(compile_all([chain(["relu"])], ORT, cache=cache, workers=1)) != [found[0]]
    assert len(list((cache / "catalogues").iterdir())) == 3, "and no partial files"


@pytest.mark.parametrize("damage", ["empty", "text", "half", "cut", "counts-alone", "flipped"])
def test_a_damaged_catalogue_is_refused_by_name(cache: Path, damage: str) -> None:
    networks = [chain(kinds) for kinds in CHAINS[:20]]
    compile_all(networks, ORT, cache=cache, workers=1)
    (path,) = (cache / "catalogues").iterdir()
    content = path.read_bytes()
    if damage == "counts-alone":
        np.savez_compressed(path, counts=np.zeros((20, 1)))
    else:
        middle = len(content) // 2
        flipped = (
            content[: middle - 64] + bytes(byte ^ 255 for byte in content[middle - 64 : middle]) + content[middle:]
        )
        path.write_bytes(
            {"empty": b"", "text": b"no archive", "half": content[:middle], "cut": content[:-1], "flipped": flipped}[
                damage
            ]
        )
    before = path.read_bytes()
    with pytest.raises(SchemaMismatch) as caught:
        compile_all(networks, ORT, cache=cache, workers=1)
    assert str(path) in caught.value.message and "Delete" in caught.value.hint
    assert path.read_bytes() == before
    path.unlink()
    assert len(rows(compile_all(networks, ORT, cache=cache, workers=1))) == 20


def test_no_networks(cache: Path) -> None:
    found = compile_all([], ORT, cache=cache)
    again = compile_all([], ORT, cache=cache)
    for one in (found, again):
        assert one.kernels == () and one.counts.shape == (0, 0) and one.wires == () and one.inputs == ()
        assert one.graphs([]) == [] and one.runtime == "onnxruntime"


def test_equal_blocks_that_read_the_same_keep_kernels_of_their_own(cache: Path) -> None:
    """Their weights are shared for speed, and a runtime would run one kernel for both."""

    class Add(nn.Module):
        def forward(self, x: Any, y: Any) -> Any:
            return x + y

    def conv(name: str) -> Block:
        return Block(name, "twin conv", (INPUT,), lambda: nn.Conv2d(3, 16, 3, padding=1))

    twins = Assembly((conv("a"), conv("b"), Block("sum", "twin add", ("a", "b"), Add)), (1, 3, 8, 8))
    found = compile_all([twins], load("local-onnxruntime"), cache=cache, workers=1)
    convolutions = [i for i, kernel in enumerate(found.kernels) if kernel.op_type == "Conv"]
    assert found.counts[0, convolutions].sum() == 2


@pytest.mark.parametrize("count", [1, 3])
def test_a_compiler_that_crashes_does_not_end_the_process(count: int) -> None:
    with pytest.raises(DeviceError, match="ended") as caught:
        list(forked(lambda number: os._exit(1), count))
    assert caught.value.hint
    assert list(forked(lambda number: number + 1, count)) == list(range(1, count + 1)), "nothing stays behind"
