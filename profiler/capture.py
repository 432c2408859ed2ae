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
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_profiles.cache import cache_folder
from device_profiles.errors import InvalidModel, SchemaMismatch
from profiler.assembly import INPUT, Assembly, Block
from profiler.block_traces import Trace, trace
from profiler.derived_blocks import derive, without_weights
from profiler.onnx_graph import read_graph
from profiler.operators import OperatorGraph

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from profiler.model_files import Asked

Shape = tuple[int, ...]

#: Version of the files in the block cache.
_FORMAT = 1
OPSET = 20
IR_VERSION = 10


@dataclass(frozen=True)
class BlockGraph:
    """A block as ONNX pieces.

    Attributes:
        nodes: in order; values have the block's own names.
        inputs: names, in the order of the forward's arguments.
        output: name of its one output.
        output_shape: and its shape.
        constants: initialisers that are no parameters, by name.
        parameters: parameters and buffers, by their torch names, with their shapes.
        shapes: of all values inside, by name.
    """

    nodes: tuple[Any, ...]
    inputs: tuple[str, ...]
    output: str
    output_shape: Shape
    constants: dict[str, Any]
    parameters: dict[str, Shape]
    shapes: dict[str, tuple[int, Shape]]


@dataclass
class BlockCache:
    """Exports of blocks, in memory and, with a folder, on disk."""

    folder: Path | None
    graphs: dict[str, BlockGraph] = field(default_factory=dict)
    exports: dict[str, tuple[Trace, Any]] = field(default_factory=dict)

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
        name = _named(block, shapes, dtypes)
        if name not in self.graphs:
            self.graphs[name] = _block_graph(self._proto(name, block, shapes, dtypes), name)
        return self.graphs[name]

    def holds(self, block: Block, shapes: Sequence[Shape], dtypes: Sequence[str]) -> bool:
        """Whether the export is there already."""
        name = _named(block, shapes, dtypes)
        path = self._path(name)
        return name in self.graphs or (path is not None and path.exists())

    def _path(self, name: str) -> Path | None:
        stamp = f"{_FORMAT}|torch {version('torch')}|onnxscript {version('onnxscript')}|{name}"
        return None if self.folder is None else self.folder / f"{hashlib.sha256(stamp.encode()).hexdigest()[:32]}.onnx"

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
        if sibling is None:
            return None
        other = trace(block, shapes, dtypes)
        return None if other is None else derive(sibling[1], sibling[0], shapes, other)

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
        ran = trace(block, shapes, dtypes)
        if ran is not None:
            self.exports.setdefault(_of_key(block, dtypes), (ran, proto))
        return proto


_DEFAULT: BlockCache | None = None


def _named(block: Block, shapes: Sequence[Shape], dtypes: Sequence[str]) -> str:
    read = (
        ("" if dtype == "float32" else f"{dtype} ") + "x".join(map(str, shape))
        for shape, dtype in zip(shapes, dtypes, strict=True)
    )
    return f"{block.key}({';'.join(read)})"


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
            _one_registry(),
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


@contextlib.contextmanager
def _one_registry() -> Iterator[None]:
    """The exporter reads the sources of its 500 operators for each export, half of its time; here it does so once."""
    from torch.onnx._internal.exporter import _registration

    registry: Any = _registration.ONNXRegistry
    made = registry.__dict__["from_torchlib"]
    registry.from_torchlib = classmethod(lambda cls, *args, **kwargs: _registry(made.__func__, *args, **kwargs))
    try:
        yield
    finally:
        registry.from_torchlib = made


@lru_cache(maxsize=4)
def _registry(make: Any, *args: Any, **kwargs: Any) -> Any:
    from torch.onnx._internal.exporter import _registration

    return make(_registration.ONNXRegistry, *args, **kwargs)


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
    from onnx import TensorProto, helper, numpy_helper

    if not assembly.blocks:
        raise InvalidModel("an assembly needs at least one block")
    state = (
        {} if module is None else {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
    )
    rng = np.random.default_rng(seed)
    values: dict[str, tuple[str, Shape]] = {INPUT: ("input", assembly.input_shape)}
    model = onnx.ModelProto(ir_version=IR_VERSION)
    model.opset_import.append(helper.make_opsetid("", OPSET))
    graph = model.graph
    graph.name = "network"
    written: set[str] = set()
    readers: dict[str, list[tuple[int, set[str]]]] = {}
    last = assembly.blocks[-1].name
    for block in assembly.blocks:
        sources = [values[name] for name in block.inputs]
        dtypes = [assembly.input_dtype if name == INPUT else "float32" for name in block.inputs]
        piece = cache.get(block, [shape for _, shape in sources], dtypes)
        names = dict(zip(piece.inputs, (name for name, _ in sources), strict=True))
        read = ";".join("x".join(map(str, shape)) for _, shape in sources)
        owner = block.name
        if shared:
            equal = f"{block.key.replace(' ', '_')}{read}"
            owner = equal + "+" * _other_weights(readers.setdefault(equal, []), {name for name, _ in sources})
        for name, constant in piece.constants.items():
            names[name] = f"{owner}/{name}"
            if names[name] not in written:
                written.add(names[name])
                graph.initializer.add().CopyFrom(constant)
                graph.initializer[-1].name = names[name]
        for name, shape in piece.parameters.items():
            names[name] = f"{owner}/{name}"
            if names[name] not in written:
                written.add(names[name])
                array = (
                    state[f"blocks.{block.name}.{name}"] if module is not None else random_parameter(name, shape, rng)
                )
                graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), names[name]))
        if block.name == last and piece.output not in piece.inputs:
            names[piece.output] = "output"
        for node in piece.nodes:
            copy = graph.node.add()
            copy.CopyFrom(node)
            copy.name = f"{block.name}/{node.name}"
            copy.input[:] = [names.get(value, f"{block.name}/{value}" if value else "") for value in node.input]
            copy.output[:] = [names.get(value, f"{block.name}/{value}" if value else "") for value in node.output]
        for name, (element, shape) in piece.shapes.items():
            if name not in names:
                graph.value_info.add(name=f"{block.name}/{name}", type=_tensor_type(element, shape))
        values[block.name] = (names.get(piece.output, f"{block.name}/{piece.output}"), piece.output_shape)
    if values[last][0] != "output":  # the last block hands its input on
        graph.node.append(helper.make_node("Identity", [values[last][0]], ["output"], name=f"{last}/output"))
    element = helper.np_dtype_to_tensor_dtype(np.dtype(assembly.input_dtype))
    graph.input.append(helper.make_tensor_value_info("input", element, assembly.input_shape))
    graph.output.append(helper.make_tensor_value_info("output", TensorProto.FLOAT, values[last][1]))
    return model


def _other_weights(equal: list[tuple[int, set[str]]], sources: set[str]) -> int:
    """Which of a block's sets of weights one has that reads some values.

    Equal blocks share one, but not where they read the same value: a runtime would run one kernel for both.

    Args:
        equal: the set and the values of each equal block before; this one is added.
        sources: values that it reads.
    """
    taken = {number for number, read in equal if read & sources}
    number = next(number for number in range(len(taken) + 1) if number not in taken)
    equal.append((number, sources))
    return number


@lru_cache(maxsize=4096)
def _tensor_type(element: int, shape: Shape) -> Any:
    """Copied wherever it is used: a space's networks have few distinct ones, and thousands of values."""
    from onnx import helper

    return helper.make_tensor_type_proto(element, shape)


def random_parameter(name: str, shape: Shape, rng: np.random.Generator) -> Any:
    """A parameter as training leaves them: He-scaled weights, statistics near 0 and 1, biases near but not at 0."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, dtype=np.int64)
    drawn = rng.standard_normal(shape, dtype=np.float32)
    if name.endswith("running_var"):
        return (1.0 + 0.1 * np.abs(drawn)).astype(np.float32)
    if len(shape) <= 1:
        centre = 1.0 if name.endswith("weight") else 0.0
        return (centre + 0.1 * drawn).astype(np.float32)
    fan_in = max(int(np.prod(shape[1:])), 1)
    return (drawn * np.sqrt(2.0 / fan_in)).astype(np.float32)


def _block_graph(proto: Any, name: str) -> BlockGraph:
    from onnx import helper

    graph = proto.graph
    if len(graph.output) != 1:
        raise InvalidModel(f"block {name} has {len(graph.output)} outputs; a block has one")
    shapes = {
        value.name: (value.type.tensor_type.elem_type, tuple(d.dim_value for d in value.type.tensor_type.shape.dim))
        for value in (*graph.value_info, *graph.output)
    }
    output = graph.output[0].name
    given = str(helper.tensor_dtype_to_np_dtype(shapes[output][0]))
    if given != "float32":
        raise InvalidModel(
            f"block {name} gives {given}; only the input of a network may be anything but float32",
            hint="Let the block give float32.",
        )
    weights = {weight.name for weight in graph.initializer}
    own = set(json.loads(next(entry.value for entry in proto.metadata_props if entry.key == "parameters")))
    parameters = {w.name: tuple(w.dims) for w in graph.initializer if w.name in own}
    nodes, constants = [], {w.name: w for w in graph.initializer if w.name not in parameters}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = _constant(node)
        else:
            nodes.append(node)
    inputs = tuple(value.name for value in graph.input if value.name not in weights)
    return BlockGraph(tuple(nodes), inputs, output, shapes[output][1], constants, parameters, shapes)


def _constant(node: Any) -> Any:
    from onnx import helper, numpy_helper

    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return value
    dtype = np.float32 if attribute.name.startswith("value_float") else np.int64
    return numpy_helper.from_array(np.array(value, dtype=dtype))
