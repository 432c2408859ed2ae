from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import nas
from device_profiles.cache import cache_folder
from device_profiles.errors import InvalidModel, SchemaMismatch
from profiler import capture
from profiler.assembly import INPUT, Assembly, Block
from profiler.capture import BlockCache, random_parameter, stitch, stitch_for_compiling
from profiler.onnx_graph import read_graph

CELL = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|skip_connect~1|none~2|"
SHAPE = (1, 3, 4, 4)


class Sum(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x - 2 * y


def conv(name: str, source: str = INPUT, channels: int = 3) -> Block:
    return Block(name, f"conv {channels}", (source,), lambda: nn.Conv2d(3, channels, 3, padding=1))


@pytest.fixture(scope="module")
def blocks() -> BlockCache:
    """Exports shared by the tests of this file, in memory."""
    return BlockCache(None)


def by_onnxruntime(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": x})[0])


def largest_difference(assembly: Assembly, blocks: BlockCache, module: nn.Module) -> float:
    x = np.random.default_rng(3).standard_normal(assembly.input_shape).astype(np.float32)
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(x)).numpy()
    found = by_onnxruntime(stitch(assembly, blocks, module=module), x)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max())


def untrivial(module: nn.Module) -> nn.Module:
    """Statistics and biases as training leaves them."""
    rng = np.random.default_rng(1)
    state = {n: torch.from_numpy(random_parameter(n, tuple(t.shape), rng)) for n, t in module.state_dict().items()}
    module.load_state_dict(state)
    return module


def test_a_stitched_network_computes_what_its_module_does() -> None:
    space = nas.spaces.load("nasbench201:cells=1,channels=8")
    assembly = space.assembly(space.parse(CELL))
    module = untrivial(assembly.to_module())
    cache = BlockCache.default()
    assert cache.folder == cache_folder() / "blocks"
    assert largest_difference(assembly, cache, module) < 1e-5
    graph = read_graph(stitch(assembly, cache, module=module))
    assert graph.inputs[0][1].shape == (1, 3, 32, 32) and graph.outputs == ("output",)
    other = read_graph(stitch(assembly, BlockCache(cache.folder), seed=5))
    assert other.digest == graph.digest, "weights are no part of the structure"


def test_blocks_may_branch_and_join(blocks: BlockCache) -> None:
    assembly = Assembly((conv("a"), conv("b", "a"), Block("sum", "sum", ("b", "a"), Sum)), SHAPE)
    assert largest_difference(assembly, blocks, assembly.to_module()) < 1e-5
    twice = Assembly((conv("a"), Block("sum", "sum", ("a", "a"), Sum)), SHAPE)
    assert largest_difference(twice, blocks, twice.to_module()) < 1e-5


@pytest.mark.parametrize("before", [False, True])
def test_a_last_block_may_hand_its_input_on(blocks: BlockCache, before: bool) -> None:
    relu = (Block("relu", "relu", (INPUT,), nn.ReLU),) if before else ()
    last = Block("last", "identity", ("relu" if before else INPUT,), nn.Identity)
    assembly = Assembly((*relu, last), SHAPE)
    assert largest_difference(assembly, blocks, assembly.to_module()) == 0.0


def test_equal_blocks_are_exported_once(blocks: BlockCache) -> None:
    calls = []

    def build() -> nn.Module:
        calls.append(1)
        return nn.Sigmoid()

    assembly = Assembly(
        tuple(Block(f"s{i}", "sigmoid", (f"s{i - 1}" if i else INPUT,), build) for i in range(3)), SHAPE
    )
    fresh = BlockCache(None)
    stitch(assembly, fresh)
    stitch(assembly, fresh)
    assert len(calls) == 1 and len(fresh.graphs) == 1


def test_random_weights_are_seeded_and_shared_on_demand(blocks: BlockCache) -> None:
    assembly = Assembly((conv("a"), conv("b", "a")), SHAPE)

    def weights(**options: Any) -> dict[str, bytes]:
        model = stitch(assembly, blocks, **options)
        return {weight.name: weight.raw_data for weight in model.graph.initializer}

    assert weights(seed=1) == weights(seed=1)
    assert weights(seed=1) != weights(seed=2)
    own = weights(seed=1)
    assert {"a/weight", "a/bias", "b/weight", "b/bias"} <= set(own)
    assert own["a/weight"] != own["b/weight"]
    assert any(own["a/bias"]), "a bias of zeros fuses differently"
    assert len(weights(shared=True)) < len(own)
    shapes = [read_graph(stitch(assembly, blocks, shared=shared)).operators for shared in (True, False)]
    assert shapes[0] == shapes[1]


def test_what_is_stitched_for_compiling_differs_in_the_numbers_of_weights_alone(blocks: BlockCache) -> None:
    fork = Block("sum", "sum", ("a", "b"), Sum)
    assembly = Assembly((conv("a"), conv("b", "a"), fork, conv("c", "sum"), conv("d", "c", channels=2)), SHAPE)
    light = onnx.ModelProto.FromString(stitch_for_compiling(assembly, blocks))
    onnx.checker.check_model(light, full_check=True)
    whole = stitch(assembly, blocks, shared=True)
    values = [onnx.numpy_helper.to_array(weight) for weight in light.graph.initializer]
    assert all(np.any(array) for array in values), "weights of zeros fuse differently"
    assert len({array.tobytes() for array in values}) == len(values), "equal weights may be merged"
    for model in (light, whole):
        for weight in model.graph.initializer:
            weight.ClearField("raw_data")
    assert light == whole


def test_random_weights_are_the_same_whether_they_are_kept(monkeypatch: pytest.MonkeyPatch, blocks: BlockCache) -> None:
    assembly = Assembly((conv("a"), conv("b", "a")), SHAPE)
    first = stitch_for_compiling(assembly, blocks)
    monkeypatch.setattr(capture, "_MOST_KEPT_BYTES", 0)
    fresh = BlockCache(None, blocks.graphs)
    assert stitch_for_compiling(assembly, fresh) == stitch_for_compiling(assembly, fresh) == first
    assert not fresh.weights


def test_random_parameters_are_like_trained_ones() -> None:
    rng = np.random.default_rng(0)
    assert random_parameter("bn.num_batches_tracked", (), rng) == 0
    variance = random_parameter("bn.running_var", (4096,), rng)
    assert variance.min() >= 1.0 and variance.dtype == np.float32
    assert abs(float(random_parameter("bn.weight", (4096,), rng).mean()) - 1.0) < 0.02
    bias = random_parameter("bias", (4096,), rng)
    assert abs(float(bias.mean())) < 0.02 and float(np.abs(bias).min()) > 0.0
    weight = random_parameter("weight", (64, 32, 3, 3), rng)
    assert float(weight.std()) == pytest.approx(np.sqrt(2 / (32 * 9)), rel=0.05)


def test_an_assembly_needs_a_block(blocks: BlockCache) -> None:
    with pytest.raises(InvalidModel, match="at least one block"):
        stitch(Assembly((), SHAPE), blocks)


def test_weights_that_the_export_lost_are_refused(blocks: BlockCache) -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    with pytest.raises(InvalidModel, match="'weight'"):
        stitch(Assembly((Block("fc", "a weight that nobody uses", (INPUT,), Unused),), SHAPE), blocks)


def test_a_block_has_one_output(blocks: BlockCache) -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x + 1, x + 2

    with pytest.raises(InvalidModel, match="2 outputs"):
        stitch(Assembly((Block("two", "two outputs", (INPUT,), Two),), SHAPE), blocks)


def test_exports_are_kept_on_disk(tmp_path: Path) -> None:
    def never() -> nn.Module:
        raise AssertionError("it was exported before")

    first = stitch(Assembly((Block("r", "relu", (INPUT,), nn.ReLU),), SHAPE), BlockCache(tmp_path))
    again = stitch(Assembly((Block("r", "relu", (INPUT,), never),), SHAPE), BlockCache(tmp_path))
    assert again.SerializeToString() == first.SerializeToString()
    assert [path.suffix for path in tmp_path.iterdir()] == [".onnx"]
    with pytest.raises(AssertionError):
        stitch(Assembly((Block("r", "relu", (INPUT,), never),), (1, 3, 5, 5)), BlockCache(tmp_path))


@pytest.mark.parametrize("damage", ["garbage", "empty", "half", "last byte"])
def test_a_damaged_export_is_refused_with_its_path(tmp_path: Path, damage: str) -> None:
    assembly = Assembly((Block("r", "relu", (INPUT,), nn.ReLU),), SHAPE)
    cache = BlockCache(tmp_path)
    stitch(assembly, cache)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(
        {"garbage": b"\xff" * 99, "empty": b"", "half": content[: len(content) // 2], "last byte": content[:-1]}[damage]
    )
    stitch(assembly, cache)  # what is in memory stays good
    with pytest.raises(SchemaMismatch) as caught:
        stitch(assembly, BlockCache(tmp_path))
    assert str(path) in caught.value.message and "Delete" in caught.value.hint


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


def test_weights_that_an_exporter_would_turn_ahead_of_time_are_put_in(blocks: BlockCache) -> None:
    """A linear layer over sequences transposes its weight; folded into a constant, trained weights would be lost."""
    assembly = Assembly(
        (
            Block("dense", "dense 24->16", (INPUT,), lambda: nn.Sequential(nn.Linear(24, 16), nn.GELU())),
            Block("attention", "attention 16", ("dense",), SelfAttention),
        ),
        (1, 5, 24),
    )
    module = untrivial(assembly.to_module())
    assert largest_difference(assembly, blocks, module) < 1e-4


class Tokens(nn.Module):
    """Vectors of tokens, and how many there are of each: the input is read twice, as an index and as a number."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.table(x) + x.float()[:, :, None]


def of_tokens(last: Any = None) -> Assembly:
    blocks = [
        Block("tokens", "tokens 9->6", (INPUT,), Tokens),
        Block("dense", "dense 6->4", ("tokens",), lambda: nn.Linear(6, 4)),
    ]
    return Assembly((*blocks, *([last] if last else [])), (1, 5), "int64")


def test_a_network_of_whole_numbers_computes_what_its_module_does() -> None:
    assembly, cache = of_tokens(), BlockCache(None)
    module = untrivial(assembly.to_module())
    x = np.array([[0, 8, 3, 3, 1]])
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(x)).numpy()
    model = stitch(assembly, cache, module=module)
    assert np.abs(by_onnxruntime(model, x) - expected).max() < 1e-5
    assert [(t.shape, t.dtype) for _, t in read_graph(model).inputs] == [((1, 5), "int64")]
    assert [value.type.tensor_type.elem_type for value in model.graph.output] == [onnx.TensorProto.FLOAT]
    assert list(cache.graphs) == ["tokens 9->6(int64 1x5)", "dense 6->4(1x5x6)"]


def test_the_dtype_is_part_of_the_key_of_whole_numbers_alone() -> None:
    relu = (Block("r", "relu", (INPUT,), nn.ReLU),)
    assert Assembly(relu, SHAPE).key == Assembly(relu, SHAPE, "float32").key == "1x3x4x4:relu(0)"
    assert Assembly(relu, SHAPE, "int64").key == "int64 1x3x4x4:relu(0)"


def test_one_block_may_read_both_kinds_of_numbers(tmp_path: Path) -> None:
    square = Block("s", "square", (INPUT,), lambda: Square())
    for dtype, x in (("int64", np.array([[3, -2]])), ("float32", np.array([[0.5, -2.0]], dtype=np.float32))):
        for _ in range(2):  # exported, and read from the disk
            model = stitch(Assembly((square,), (1, 2), dtype), BlockCache(tmp_path))
            assert by_onnxruntime(model, x).tolist() == (x.astype(np.float64) ** 2).tolist()
    assert len(list(tmp_path.iterdir())) == 2


class Square(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float() * x.float()


@pytest.mark.parametrize("dtype", ["int32", "float16", "", "tokens"])
def test_other_inputs_are_refused(dtype: str) -> None:
    with pytest.raises(InvalidModel, match="float32, int64"):
        Assembly((Block("r", "relu", (INPUT,), nn.ReLU),), SHAPE, dtype)


@pytest.mark.parametrize("source", [INPUT, "dense"])
def test_a_block_that_gives_whole_numbers_is_refused(source: str) -> None:
    class Whole(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.long()

    with pytest.raises(InvalidModel, match="int64") as caught:
        stitch(of_tokens(Block("last", "whole", (source,), Whole)), BlockCache(None))
    assert "whole" in caught.value.message and "float32" in caught.value.hint


def test_shared_constants_are_those_of_all_shapes_that_a_block_reads() -> None:
    class Flat(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x.sum() + y.reshape(1, y.numel())

    assembly = Assembly(
        (
            Block("one", "flat", (INPUT, INPUT), Flat),
            Block("smaller", "halved", (INPUT,), lambda: nn.MaxPool2d(2)),
            Block("two", "flat", (INPUT, "smaller"), Flat),
            Block("sum", "sum of both", ("one", "two"), Both),
        ),
        SHAPE,
    )
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    with torch.no_grad():
        expected = assembly.to_module()(torch.from_numpy(x)).numpy()
    found = by_onnxruntime(stitch(assembly, BlockCache(None), shared=True), x)
    assert np.abs(found - expected).max() < 1e-4


class Both(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, y], dim=1)
