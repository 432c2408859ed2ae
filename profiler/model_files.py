"""A stranger's ONNX file made ready to be measured: free dimensions fixed, shapes found, inputs that it runs with."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import HwnasError, InvalidData, InvalidModel, UnsupportedOperator
from device_profiles.reading import read_bytes
from profiler.drawing import Arrays, draw, whole_inputs
from profiler.free_dims import StillFree, Wanted, fix, without_shapes
from profiler.onnx_check import embed
from profiler.onnx_graph import inlined, known_shapes, read_graph
from profiler.operators import OperatorGraph
from profiler.trial import run_once
from profiler.work import elementwise, macs

if TYPE_CHECKING:
    import onnx

#: Types whose shapes are written into a model.
_WRITTEN = frozenset({"float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"})
#: Numbers tried for free dimensions, to show a command that would do.
_SIZES = (224, 64, 320, 128, 512, 576, 32, 16, 1)
_LARGEST_INPUTS_BYTES = 1 << 30


@dataclass(frozen=True)
class Asked:
    """How files are to be run.

    Attributes:
        wanted: their shapes.
        inputs: arrays of the user's own, by name of the input.
    """

    wanted: Wanted = field(default_factory=Wanted)
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFile:
    """A model that can be measured.

    Attributes:
        name: of the file.
        content: serialised, with fixed shapes wherever the runtime can load it so.
        graph: its operators; values whose shape no run tells are `profiler.operators.UNKNOWN`.
        inputs: what it is run with, by name.
        notes: what was assumed, for people.
        kept: digest of what distinguishes its speed from another of equal structure; empty if nothing does.
        denormal: share of its work, in 0..1, that is done with denormal weights, of which a product may take many times
            as long as one of ordinary weights.
    """

    name: str
    content: bytes
    graph: OperatorGraph
    inputs: Arrays
    notes: tuple[str, ...]
    kept: str
    denormal: float = 0.0


def read_inputs(path: str | Path) -> Arrays:
    """Arrays of an `.npz`, by name.

    Raises:
        InvalidData: it is none, or holds objects.
    """
    import io
    import zipfile
    import zlib

    hint = "Write it with numpy.savez(FILE, **{name: array})."
    content = read_bytes(Path(path), largest_bytes=_LARGEST_INPUTS_BYTES, hint=hint)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidData(f"{path} holds no arrays: {error}", hint=hint) from error


def prepare(path: str | Path, asked: Asked | None = None) -> ModelFile:
    """Make a file ready.

    Shapes come from the file, else from ONNX's inference, else from one run.

    Raises:
        InvalidModel: the file is none, has dimensions that nobody said, or cannot be run; with the runtime's words.
    """
    try:
        return _prepared(Path(path), asked or Asked())
    except (HwnasError, OSError):
        raise
    except Exception as error:  # what somebody's file does to us costs that file, and no other
        if os.environ.get("HWNAS_TRACEBACK"):
            raise
        raise InvalidModel(
            f"{Path(path).name} cannot be read: {type(error).__name__}: {error}",
            hint="If ONNX Runtime runs it, please report it with what HWNAS_TRACEBACK=1 prints.",
        ) from error


def _prepared(path: Path, asked: Asked) -> ModelFile:
    import onnx

    name = path.name
    proto = onnx.ModelProto.FromString(embed(path))
    own = {value.name: asked.inputs[value.name] for value in proto.graph.input if value.name in asked.inputs}
    shapes = {**{key: array.shape for key, array in own.items()}, **asked.wanted.shapes}
    wanted = replace(asked.wanted, shapes=shapes)
    try:
        fixed, notes = fix(proto, wanted, name)
    except StillFree as free:
        raise InvalidModel(free.message, hint=StillFree.command(_that_run(proto, free))) from free
    plain = inlined(fixed)
    unknown: list[str] = []
    tensors = known_shapes(plain)
    graph = read_graph(plain, name=name, unknown=unknown)
    inputs = draw(plain, tensors, own)
    content = fixed
    if unknown or own or whole_inputs(plain) or fixed is not proto:
        attempts = [inputs, *([] if own else _simpler(inputs))]
        optimise = None if fixed is proto else fixed.SerializeToString()
        trial = run_once(plain.SerializeToString(), attempts, unknown, optimise=optimise)
        if fixed is not proto and not (trial.loaded and trial.optimised):
            # A branch that is never taken may contradict the shapes that are fixed: then they stay free.
            content = without_shapes(proto)
            trial = run_once(inlined(content).SerializeToString(), attempts, unknown)
        if trial.worked is None:
            raise _failed(name, trial.error, trial.loaded)
        inputs = attempts[trial.worked]
        if unknown:
            graph = read_graph(plain, name=name, shapes=trial.tensors, unknown=[])
    serialised = _with_known(content, graph) if content is fixed else content.SerializeToString()
    marks = _marks(plain)
    kept = _kept(marks, {tensor.name: tensor.dims for tensor in plain.graph.initializer}, own)
    return ModelFile(name, serialised, graph, inputs, notes, kept, _denormal(graph, marks))


def _with_known(proto: onnx.ModelProto, graph: OperatorGraph) -> bytes:
    """The model with the shapes of all values that are known: a runtime keeps them among its fused kernels."""
    import onnx

    has = {value.name for value in (*proto.graph.value_info, *proto.graph.output)}
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for node in graph.nodes:
        for value, tensor in zip(node.outputs, node.operator.outputs, strict=True):
            if value not in has and tensor.dtype in _WRITTEN:
                element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
                copy.graph.value_info.append(onnx.helper.make_tensor_value_info(value, element, tensor.shape))
    serialised: bytes = copy.SerializeToString()
    return serialised


def _failed(name: str, words: str, loaded: bool) -> InvalidModel:
    if not loaded and any(
        mark in words for mark in ("NOT_IMPLEMENTED", "not a registered function", "No Op registered")
    ):
        return UnsupportedOperator(
            f"ONNX Runtime lacks an operator of {name}: {words}", hint="Export with another opset, or replace it."
        )
    if not loaded:
        return InvalidModel(f"ONNX Runtime cannot load {name}: {words}", hint="Export it again.")
    return InvalidModel(
        f"ONNX Runtime cannot run {name} with the inputs drawn for it: {words}",
        hint="Give inputs that it takes with --inputs FILE.npz, or other shapes with --shape INPUT=...",
    )


def _simpler(drawn: Arrays) -> list[Arrays]:
    """Other whole numbers, should the drawn ones be out of a range that nothing tells: zeros, then ones."""
    return [
        {name: array if array.dtype.kind in "fcUO" else np.full_like(array, filling) for name, array in drawn.items()}
        for filling in (0, 1)
    ]


def _that_run(proto: onnx.ModelProto, free: StillFree) -> dict[str, tuple[int, ...]]:
    """Shapes for the inputs with free dimensions with which the model runs, or nothing."""
    dims = free.symbols | {(dim.input, dim.position): dim.symbol for dim in free.free}
    if any(dim.position < 0 for dim in free.free):
        return {}
    first = free.free[0].input
    candidates, attempts = [], []
    for size, only_first in ((size, only_first) for only_first in (False, True) for size in _SIZES):
        sizes = {key: 1 if key[1] == 0 or (only_first and key[0] != first) else size for key in dims}
        try:
            fixed, _ = fix(proto, Wanted(shapes := free.shapes(sizes)), free.name)
            attempts.append(draw(fixed, {}, {}))
        except InvalidModel:
            continue
        candidates.append(shapes)
    trial = run_once(proto.SerializeToString(), attempts, patience_s=30.0) if attempts else None
    return {} if trial is None or trial.worked is None else candidates[trial.worked]


def _marks(proto: onnx.ModelProto) -> dict[str, str]:
    """The class of each weight that is not an ordinary one, by name."""
    from onnx import numpy_helper

    real = [tensor for tensor in proto.graph.initializer if tensor.data_type in _REAL]
    found = {tensor.name: value_class(np.asarray(numpy_helper.to_array(tensor))) for tensor in real}
    return {name: marks for name, marks in found.items() if marks}


def _kept(marks: Mapping[str, str], dims: Mapping[str, Sequence[int]], own: Mapping[str, NDArray[Any]]) -> str:
    """What two models of equal structure must share beside it to be one: classes of weights, and given inputs.

    Dense kernels take the same time whatever the numbers, except for denormal ones (up to 100 times slower) and where
    zeros are skipped. Weights without any, and drawn inputs, add nothing.
    """
    lines = [f"{'x'.join(map(str, dims[name]))} {found}" for name, found in marks.items()]
    for key, array in own.items():
        lines.append(f"{key} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else ""


def _denormal(graph: OperatorGraph, marks: Mapping[str, str]) -> float:
    """The share of a graph's work that is done with denormal weights, each weight's by how many of it are."""
    total = strange = 0.0
    for node in graph.nodes:
        work = macs(node.operator) or elementwise(node.operator)
        shares = [_DENORMAL.search(marks.get(name, "")) for name in node.inputs]
        total += work
        strange += work * max((int(found[1]) / 10 for found in shares if found), default=0.0)
    return strange / total if total else 0.0


#: How many tenths of a weight are denormal, in its class.
_DENORMAL = re.compile(r"denormal (\d+)")
#: ONNX's element types float, float16 and double.
_REAL = (1, 10, 11)


def value_class(values: NDArray[Any]) -> str:
    """What of some weights may matter to speed: empty for ordinary ones.

    Tenths of zeros (from one tenth on), whether any thousandth is denormal, and whether all are finite.
    """
    if values.size == 0:
        return ""
    size = np.abs(values)
    zeros = int(10 * np.count_nonzero(size == 0) / size.size)
    denormal = np.count_nonzero((size > 0) & (size < np.finfo(values.dtype).tiny)) / size.size
    marks = [f"zeros {zeros}" if zeros else "", f"denormal {int(np.ceil(10 * denormal))}" if denormal > 1e-3 else ""]
    finite = bool(np.isfinite(size).all())
    return " ".join([*filter(None, marks), *([] if finite else ["not finite"])])
