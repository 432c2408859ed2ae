"""From torch to ONNX: whole modules, and networks stitched from exports of their distinct blocks.

The exporter takes seconds for a network and half a second for a block; a space has few distinct blocks and many
networks. So each block is exported once, kept on disk, and networks are put together from the pieces in milliseconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import math
import os
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.cache import cache_folder
from device_profiles.errors import InvalidModel, SchemaMismatch
from device_profiles.version import installed
from profiler.assembly import INPUT, Assembly, Block, Merged
from profiler.block_traces import trace
from profiler.derived_blocks import derive, without_weights
from profiler.exporting import quicker
from profiler.folding import folded
from profiler.onnx_graph import read_graph
from profiler.operators import OperatorGraph
from profiler.pieces import (
    OPSET,
    BlockGraph,
    Shape,
    constant_piece,
    frame_piece,
    handed_on,
    head_piece,
    nodes_piece,
    read_block,
    weight_piece,
)

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from profiler.model_files import Asked

#: Version of the files in the block cache.
_FORMAT = 1
#: Numbers of a random weight before they repeat, where they matter little. A prime, so that channels differ.
_MOST_DRAWN = 4099
#: Random weights that a cache keeps.
_MOST_KEPT_BYTES = 1 << 26


@dataclass
class BlockCache:
    """Exports of blocks, in memory and, with a folder, on disk."""

    folder: Path | None
    graphs: dict[str, BlockGraph] = field(default_factory=dict)
    exports: dict[str, tuple[tuple[Shape, ...], Any]] = field(default_factory=dict)
    weights: dict[str, bytes] = field(default_factory=dict)
    kept_bytes: int = 0

    @staticmethod
    def default() -> BlockCache:
        """The one of this process, in the toolkit's cache folder."""
        global _DEFAULT  # noqa: PLW0603 - parsed blocks are shared by all callers of one process
        folder = cache_folder() / "blocks"
        if _DEFAULT is None or _DEFAULT.folder != folder:
            _DEFAULT = BlockCache(folder)
        return _DEFAULT

    def get(self, block: Block, shapes: Sequence[Shape], dtypes: Sequence[str] | None = None) -> BlockGraph:
        """The export of a block for inputs of these shapes, and dtypes (float32 if None); made at first need."""
        dtypes = dtypes or ["float32"] * len(shapes)
        name = f"{block.key}({_shown(tuple(shapes), tuple(dtypes))})"
        if name not in self.graphs:
            self.graphs[name] = read_block(self._proto(name, block, shapes, dtypes), name)
        return self.graphs[name]

    def holds(self, block: Block, shapes: Sequence[Shape], dtypes: Sequence[str]) -> bool:
        """Whether the export is there already."""
        name = f"{block.key}({_shown(tuple(shapes), tuple(dtypes))})"
        path = self._path(name)
        return name in self.graphs or (path is not None and path.exists())

    def _path(self, name: str) -> Path | None:
        stamp = f"{_FORMAT}|torch {installed('torch')}|onnxscript {installed('onnxscript')}|{name}"
        return None if self.folder is None else self.folder / f"{hashlib.sha256(stamp.encode()).hexdigest()[:32]}.onnx"

    def weight(self, owner: str, name: str, shape: Shape) -> bytes:
        """The file's piece of a random weight: always the same for the same names and shape."""
        full = f"{owner}/{name}"
        piece = self.weights.get(full)
        if piece is None:
            rng = np.random.default_rng(zlib.crc32(full.encode()))
            some = random_parameter(name, shape, rng, most=_MOST_DRAWN)
            piece = weight_piece(full, np.resize(some, shape))
            if self.kept_bytes + len(piece) <= _MOST_KEPT_BYTES:
                self.kept_bytes += len(piece)
                self.weights[full] = piece
        return piece

    def _proto(self, name: str, block: Block, shapes: Sequence[Shape], dtypes: Sequence[str]) -> Any:
        import onnx

        path = self._path(name)
        if path is not None and path.exists():
            try:
                proto = onnx.load(path)
            except Exception as error:  # protobuf's error types differ between its implementations
                raise SchemaMismatch(
                    f"the cached block {path} is damaged: {error}", hint="Delete that file."
                ) from error
            if not any(entry.key == "parameters" for entry in proto.metadata_props):  # what is written last
                raise SchemaMismatch(f"the cached block {path} was cut short", hint="Delete that file.")
            return proto
        proto = self._derived(block, shapes, dtypes) or self._exported(block, shapes, dtypes)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.partial")
            temporary.write_bytes(proto.SerializeToString())
            temporary.replace(path)
        return proto

    def _derived(self, block: Block, shapes: Sequence[Shape], dtypes: Sequence[str]) -> Any | None:
        """From what this process exported of the block for other shapes, if that holds for these; or None."""
        sibling = self.exports.get(_of_key(block, dtypes))
        first = None if sibling is None else trace(block, sibling[0], dtypes)
        other = None if first is None else trace(block, shapes, dtypes)
        if sibling is None or first is None or other is None:
            return None
        return derive(sibling[1], first, shapes, other)

    def _exported(self, block: Block, shapes: Sequence[Shape], dtypes: Sequence[str]) -> Any:
        import onnx

        module = block.build()
        proto = capture_module(module, shapes, dtypes)
        kept = {weight.name for weight in proto.graph.initializer}
        lost = [parameter for parameter, _ in module.named_parameters() if parameter not in kept]
        if lost:
            raise InvalidModel(
                f"the export of block {block.key!r} has no {lost[0]!r}: nobody uses it, or the exporter computed with "
                "it ahead of time, so trained weights could not be put in",
                hint="Use the parameter in an operation with the input, or take it away.",
            )
        parameters = [parameter for parameter in module.state_dict() if parameter in kept]
        without_weights(proto, parameters)
        onnx.helper.set_model_props(proto, {"parameters": json.dumps(parameters)})
        self.exports.setdefault(_of_key(block, dtypes), (tuple(shapes), proto))
        return proto


_DEFAULT: BlockCache | None = None


def _of_key(block: Block, dtypes: Sequence[str]) -> str:
    return f"{block.key}({';'.join(dtypes)})"


def capture_module(
    module: nn.Module, input_shapes: Shape | Sequence[Shape], input_dtypes: Sequence[str] | None = None
) -> onnx.ModelProto:
    """Export a module in eval mode, with fixed shapes.

    Parameters keep their torch names, batch norm stays a node of its own.

    Args:
        module: with one output.
        input_shapes: one shape, or one for each argument of its forward.
        input_dtypes: one for each shape, such as `int64`; all float32 if None.

    Raises:
        InvalidModel: the exporter cannot export it.
    """
    import onnx
    import onnxscript.optimizer
    import torch

    several = len(input_shapes) > 0 and not isinstance(input_shapes[0], int)
    shapes: list[Shape] = [tuple(s) for s in input_shapes] if several else [tuple(input_shapes)]  # type: ignore[arg-type]
    dtypes = [getattr(torch, dtype) for dtype in input_dtypes or ["float32"] * len(shapes)]
    arguments = tuple(torch.zeros(shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes, strict=True))
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    try:
        with (
            quicker(),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(), arguments, dynamo=True, optimize=False, opset_version=OPSET, verbose=False
            )
            assert program is not None
            proto = program.model_proto
            # A convolution without bias is exported with a computed bias of zeros; as a constant it folds away. What is
            # computed from parameters stays: trained ones are put in later.
            kept = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
            onnxscript.optimizer.fold_constants(
                program.model, should_fold=lambda node: None if _free_of(node, kept) else False
            )
            onnxscript.optimizer.remove_unused_nodes(program.model)
            proto = program.model_proto
    except Exception as error:  # the exporter raises many types that share no base but Exception
        raise InvalidModel(
            f"PyTorch cannot export {type(module).__name__}: {error}", hint="Try torch.onnx.export on it."
        ) from error
    finally:
        quiet.setLevel(level)
    model: onnx.ModelProto = onnx.shape_inference.infer_shapes(proto)
    return model


def _free_of(node: Any, names: set[str]) -> bool:
    """Whether a node of the exporter reads none of these values."""
    return not any(value is not None and value.name in names for value in node.inputs)


def capture(
    model: nn.Module | Path | bytes,
    input_shapes: Shape | Sequence[Shape] | None = None,
    *,
    asked: Asked | None = None,
) -> OperatorGraph:
    """The operators of a module or an ONNX file.

    Args:
        model: a torch module, a path, or the content of an ONNX file.
        input_shapes: for a module, see `capture_module`.
        asked: for a path, shapes of its free dimensions and inputs of one's own.

    Raises:
        InvalidModel: it cannot be captured; see `capture_module`, `profiler.model_files.prepare` and
            `profiler.onnx_graph.read_graph`.
    """
    if isinstance(model, Path):
        from profiler.model_files import prepare

        return prepare(model, asked).graph
    if isinstance(model, bytes):
        return read_graph(model)
    if input_shapes is None:
        raise InvalidModel("a module has no shapes of its own", hint="Give input_shapes, such as (1, 3, 224, 224).")
    return read_graph(capture_module(model, input_shapes))


def stitch(
    assembly: Assembly, cache: BlockCache, *, module: nn.Module | None = None, seed: int = 0, shared: bool = False
) -> onnx.ModelProto:
    """Put a network together from its blocks.

    Args:
        assembly: the network.
        cache: exports of blocks.
        module: the network's own module (`assembly.to_module()`, trained or not), whose weights to use; seeded random
            ones if None.
        seed: of random weights. Their biases and statistics are never trivial: a zero bias lets a runtime fuse a
            network differently from a trained one.
        shared: equal blocks share one set of random weights: enough to see how a runtime fuses, and much smaller.

    Returns:
        A model with the input `input`, of the assembly's dtype, and the output `output`, float32.
    """
    import onnx

    rng = np.random.default_rng(seed)
    state = (
        None if module is None else {key: value.detach().cpu().numpy() for key, value in module.state_dict().items()}
    )

    def weight(block: str, owner: str, name: str, shape: Shape) -> bytes:
        values = random_parameter(name, shape, rng) if state is None else state[f"blocks.{block}.{name}"]
        return weight_piece(f"{owner}/{name}", values)

    model: onnx.ModelProto = onnx.ModelProto.FromString(b"".join(_pieces(assembly, cache, weight, shared=shared)))
    return model


def stitch_for_compiling(assembly: Assembly, cache: BlockCache, *, fold: bool = False) -> bytes:
    """The file of `stitch(..., shared=True)`, for seeing what a runtime makes of it; in a tenth of the time.

    Its random weights are others: each is drawn from a seed of its own, so that the cache can keep it.

    Args:
        assembly: the network.
        cache: exports of blocks.
        fold: batch norms are put into convolutions (`profiler.folding`), but those of the first block that has such:
            a runtime that changes a network writes all attributes out, which it should do here, too.
    """
    return b"".join(_pieces(assembly, cache, lambda _, *weight: cache.weight(*weight), shared=True, fold=fold))


def _pieces(
    assembly: Assembly,
    cache: BlockCache,
    weight: Callable[[str, str, str, Shape], bytes],
    *,
    shared: bool,
    fold: bool = False,
) -> Iterator[bytes]:
    """The pieces of a network's file; a weight is asked for by block, owner, name and shape."""
    if not assembly.blocks:
        raise InvalidModel("an assembly needs at least one block")
    yield head_piece()
    values: dict[str, tuple[str, Shape]] = {INPUT: ("input", assembly.input_shape)}
    merged, changed = Merged(), False
    written: set[str] = set()
    readers: dict[str, list[tuple[int, set[str]]]] = {}
    last = assembly.blocks[-1].name
    for block in assembly.blocks:
        sources = tuple([values[name][0] for name in block.inputs])
        shapes = tuple([values[name][1] for name in block.inputs])
        graph = cache.get(
            block, shapes, [assembly.input_dtype if name == INPUT else "float32" for name in block.inputs]
        )
        if fold and (joined := folded(graph)) is not graph:
            graph, changed = (joined if changed else graph), True
        owner = block.name
        if shared:
            equal = block.key.replace(" ", "_") + _shown(shapes, ("float32",) * len(shapes))
            read = {merged.of[name] for name in block.inputs}
            owner = equal + "+" * _other_weights(readers.setdefault(equal, []), read)
        for name in (*graph.constants, *graph.parameters):
            if f"{owner}/{name}" in written:
                continue
            written.add(f"{owner}/{name}")
            if name in graph.parameters:
                yield weight(block.name, owner, name, graph.parameters[name])
            else:
                yield constant_piece(graph, owner, name)
        piece, output = nodes_piece(graph, block.name, owner, sources, block.name == last)
        yield piece
        values[block.name] = (output, graph.output_shape)
        wire = graph.inputs.index(graph.output) if graph.output in graph.inputs else None
        merged.add(block, weighted=bool(graph.parameters), wire=wire)
    output, shape = values[last]
    if output != "output":  # the last block hands its input on
        yield handed_on(output, f"{last}/output")
    yield frame_piece(assembly.input_shape, assembly.input_dtype, shape)


def _other_weights(equal: list[tuple[int, set[str]]], sources: set[str]) -> int:
    """Which of a block's sets of weights one has that reads some values.

    Equal blocks share one, but not where they read the same value, or values that a runtime finds to be the same: it
    would run one kernel for both, which it cannot where a trained network has other weights.

    Args:
        equal: the set and the values of each equal block before; this one is added.
        sources: values that it reads.
    """
    taken = {number for number, read in equal if read & sources}
    number = next(number for number in range(len(taken) + 1) if number not in taken)
    equal.append((number, sources))
    return number


@lru_cache(maxsize=4096)
def _shown(shapes: tuple[Shape, ...], dtypes: tuple[str, ...]) -> str:
    return ";".join(
        ("" if dtype == "float32" else f"{dtype} ") + "x".join(map(str, shape))
        for shape, dtype in zip(shapes, dtypes, strict=True)
    )


def random_parameter(name: str, shape: Shape, rng: np.random.Generator, *, most: int | None = None) -> NDArray[Any]:
    """A parameter as training leaves them: He-scaled weights, statistics near 0 and 1, biases near but not at 0.

    Args:
        name: by which it is known what it is.
        shape: of the parameter.
        rng: where numbers are drawn from.
        most: only so many numbers, flat; None: all of them, in their shape.
    """
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, dtype=np.int64)
    drawn = rng.standard_normal(shape if most is None else min(most, math.prod(shape)), dtype=np.float32)
    if name.endswith("running_var"):
        return (1.0 + 0.1 * np.abs(drawn)).astype(np.float32)
    if len(shape) <= 1:
        centre = 1.0 if name.endswith("weight") else 0.0
        return (centre + 0.1 * drawn).astype(np.float32)
    fan_in = max(int(np.prod(shape[1:])), 1)
    weight: NDArray[np.float32] = (drawn * np.sqrt(2.0 / fan_in)).astype(np.float32)
    return weight
