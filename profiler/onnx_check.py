"""The door through which ONNX files of others come in.

What passes can be given to ONNX's inference of shapes, to a runtime and to our own readers; what cannot is refused with
a name, and costs that file alone. A file that ONNX Runtime loads passes, unless two readers could take it for different
models, or it leads out of its folder or out of memory.

    proto = onnx_check.parse(Path("network.onnx"))
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from device_profiles.errors import InvalidData, InvalidModel
from device_profiles.reading import read_bytes
from profiler._onnx_tensors import BITS, File, bytes_of, check_extents, check_sparse, check_tensor, shown, unpack_sparse
from profiler._onnx_wiring import check_functions, check_graph, described, inner_graphs

if TYPE_CHECKING:
    import onnx

#: Largest file that is read; a protobuf cannot be larger.
LARGEST_BYTES = 2**31 - 1
#: Names go into stores, profiles and messages; the longest of real files have some hundred characters.
LONGEST_NAME = 1 << 16
#: No version of ONNX or of its operators is anywhere near.
_HIGHEST_VERSION = 1000
#: The field of a value, by `AttributeProto.AttributeType`.
_FIELDS = {
    1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 6: "floats", 7: "ints", 8: "strings", 9: "tensors", 10: "graphs",
    11: "sparse_tensor", 12: "sparse_tensors", 13: "tp", 14: "type_protos",
}  # fmt: skip
#: Parts of a split that a file may speak of beyond those it has: for each, ONNX's inference takes memory.
_MOST_PARTS = 1 << 16
_ABOUT = ("name", "type", "doc_string", "ref_attr_name")
_KINDS = {
    "sequence_type": "a sequence", "optional_type": "an optional", "map_type": "a map",
    "sparse_tensor_type": "a sparse tensor", "opaque_type": "opaque",
}  # fmt: skip


def parse(model: Path | bytes) -> onnx.ModelProto:
    """Read a model and check it.

    Nodes of the outermost graph come back in an order in which they can run, equal weights of one name once, sparse
    weights unpacked, and without what is only for training.

    Args:
        model: a file or its content.

    Returns:
        The model; data outside of the file stays outside, see `embed`.

    Raises:
        InvalidModel: the file is missing, no ONNX, or what must not be read further.
    """
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    name = model.name if isinstance(model, Path) else "the model"
    if isinstance(model, Path):
        if not _is_there(model):
            raise InvalidModel(f"there is no model file {model}", hint="Give the path of an .onnx file.")
        try:
            content = read_bytes(model, largest_bytes=LARGEST_BYTES)
        except InvalidData as error:
            raise InvalidModel(
                error.message, hint="Give an .onnx file that fits; large weights are external data."
            ) from error
    else:
        content = model
    try:
        proto = ModelProto.FromString(content)
    except DecodeError as error:
        raise InvalidModel(
            f"{name} is not an ONNX model: {error}", hint="Export it with torch.onnx.export(..., dynamo=True)."
        ) from error
    check(proto, model.parent if isinstance(model, Path) else None, name)
    return proto


def embed(path: Path) -> bytes:
    """The content of a model file, with the data that lies beside it.

    Raises:
        InvalidModel: see `parse`; or all of it is larger than a file may be.
    """
    proto = parse(path)
    outside = [tensor for tensor in _tensors(proto) if tensor.data_location == 1]
    if proto.ByteSize() + sum(map(bytes_of, outside)) > LARGEST_BYTES:
        raise InvalidModel(
            f"{path.name} has more than {LARGEST_BYTES} bytes with its data files, which is more than a file may have",
            hint="Measure a smaller model, or a part of it.",
        )
    for tensor in outside:
        given = {entry.key: entry.value for entry in tensor.external_data}
        needed = bytes_of(tensor)
        try:
            with (path.parent / given["location"]).open("rb") as file:
                file.seek(int(given.get("offset", 0)))
                data = file.read(needed)
        except OSError as error:
            raise InvalidModel(f"{path.name}: cannot read {shown(given['location'])}: {error.strerror}") from error
        if len(data) != needed:
            raise InvalidModel(f"{path.name}: {shown(given['location'])} was cut short while it was read")
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = data
    content: bytes = proto.SerializeToString()
    return content


def check(proto: onnx.ModelProto, folder: Path | None, name: str) -> None:
    """Refuse what must not be read further; see `parse` for what is put right.

    Args:
        proto: of a model.
        folder: where its data files may lie; None if it can have none.
        name: of the model, for messages.

    Raises:
        InvalidModel: with the name of the node, value or weight.
    """
    _check(proto, File(name, folder))


def infer_shapes(proto: onnx.ModelProto) -> onnx.ModelProto | None:
    """A copy of a model with the shapes that ONNX infers, values of shapes followed; None where it gives up.

    Args:
        proto: of a model that was checked.
    """
    from onnx import checker, shape_inference

    try:
        inferred: onnx.ModelProto = shape_inference.infer_shapes(proto, data_prop=True)
    except (
        shape_inference.InferenceError,
        checker.ValidationError,
        RuntimeError,
        ValueError,
        IndexError,
        MemoryError,
    ):  # the last four are what C++ throws inside of it
        return None
    return inferred


def _is_there(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):  # a name that is too long, or has a NUL
        return False


def _check(proto: onnx.ModelProto, file: File) -> None:
    graph = proto.graph
    if not graph.node and not graph.output:
        raise InvalidModel(f"{file.name} holds no graph: it is empty or not ONNX", hint="Export it again.")
    if not graph.output:
        file.refuse("the graph has no output", hint="Export it with what it computes as its output.")
    _check_versions(proto, file)
    proto.ClearField("training_info")  # nobody trains here, and it holds graphs and weights of its own
    for function in proto.functions:
        _check_names((function.name, function.domain, function.overload, *function.input, *function.output), file)
        _check_nodes(function.node, True, file)
        for value in function.value_info:
            _check_value(value, file)
    _check_graph(proto.graph, False, file)
    for value in proto.graph.input:
        _check_input(value, file)
    check_functions(proto, file)
    check_graph(proto.graph, file)


def _check_versions(proto: onnx.ModelProto, file: File) -> None:
    if not 1 <= proto.ir_version <= _HIGHEST_VERSION:
        file.refuse(f"the version of its format is {proto.ir_version}, which does not exist")
    if not proto.opset_import:
        file.refuse("it does not say which version of the operators it means", hint="Export it again.")
    versions: dict[str, int] = {}
    for opset in proto.opset_import:
        _check_names([opset.domain], file)
        domain = "" if opset.domain == "ai.onnx" else opset.domain
        if versions.setdefault(domain, opset.version) != opset.version:
            file.refuse(
                f"it means the versions {versions[domain]} and {opset.version} of the operators {shown(domain)}; "
                "which cannot be told"
            )
        if not 1 <= opset.version <= _HIGHEST_VERSION:
            file.refuse(f"it means the version {opset.version} of the operators {shown(domain)}, which does not exist")


def _check_graph(graph: onnx.GraphProto, in_function: bool, file: File) -> None:
    """Everything of a graph and of those inside of it, but how its nodes are wired."""
    for weight in graph.initializer:
        _check_names([weight.name], file)
        check_tensor(weight, file)
    for sparse in graph.sparse_initializer:
        _check_names([sparse.values.name], file)
        check_sparse(sparse, file)
    unpack_sparse(graph, file)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _check_value(value, file)
    _check_nodes(graph.node, in_function, file)


def _check_nodes(nodes: Iterable[onnx.NodeProto], in_function: bool, file: File) -> None:
    for node in nodes:
        _check_names((node.name, node.op_type, node.domain, node.overload, *node.input, *node.output), file)
        if not node.op_type:
            file.refuse(f"the node {shown(node.name)} has no operator")
        names: set[str] = set()
        for attribute in node.attribute:
            _check_names((attribute.name, attribute.ref_attr_name), file)
            what = f"the attribute {shown(attribute.name)} of {described(node)}"
            if not attribute.name or attribute.name in names:
                file.refuse(f"{what} {'is there twice' if attribute.name else 'has no name'}")
            names.add(attribute.name)
            _check_attribute(attribute, in_function, what, file)
        _check_operator(node, file)
        for inner in inner_graphs(node):
            _check_graph(inner, in_function, file)


def _check_attribute(attribute: onnx.AttributeProto, in_function: bool, what: str, file: File) -> None:
    given = [field.name for field, _ in attribute.ListFields() if field.name not in _ABOUT]
    if attribute.ref_attr_name:
        if not in_function:
            file.refuse(f"{what} stands for one of a function, and is in none")
        if given:
            file.refuse(f"{what} has a value and stands for one of its function; which is meant cannot be told")
        return
    wanted = _FIELDS.get(attribute.type)
    if wanted is None:
        file.refuse(f"{what} has no type" if not attribute.type else f"{what} has the unknown type {attribute.type}")
    if given not in ([], [wanted]):
        file.refuse(f"{what} is of the type {wanted!r} and has a value of {' and '.join(map(repr, given))}")
    if not given and wanted in ("t", "g", "sparse_tensor", "tp"):
        file.refuse(f"{what} has no value")
    for tensor in (*([attribute.t] if given == ["t"] else []), *attribute.tensors):
        check_tensor(tensor, file)
    for sparse in (*([attribute.sparse_tensor] if given == ["sparse_tensor"] else []), *attribute.sparse_tensors):
        check_sparse(sparse, file)


def _check_operator(node: onnx.NodeProto, file: File) -> None:
    """Refuse what ONNX's inference of shapes (1.23) hangs at, or asks for all memory at.

    It was tried on 1,500 odd nodes and 24,000 changed files.
    """
    if node.op_type == "Einsum":
        for attribute in node.attribute:
            for term in re.split(rb",|->", attribute.s.replace(b" ", b"")) if attribute.name == "equation" else ():
                if b"." in term.replace(b"...", b"", 1):
                    file.refuse(f"{described(node)} has an equation with dots that are no ellipsis")
    elif node.op_type == "Split":
        for attribute in node.attribute:
            if attribute.name == "num_outputs" and attribute.i > max(len(node.output), _MOST_PARTS):
                file.refuse(f"{described(node)} has {len(node.output)} outputs and says it has {attribute.i}")
    elif node.op_type == "Loop" and len(node.input) < 2:
        file.refuse(f"{described(node)} has {len(node.input)} inputs; a loop has 2 or more")


def _check_value(value: onnx.ValueInfoProto, file: File) -> None:
    _check_names([value.name], file)
    if value.type.WhichOneof("value") != "tensor_type":
        return
    tensor = value.type.tensor_type
    _check_names([dim.dim_param for dim in tensor.shape.dim], file)
    if tensor.elem_type and tensor.elem_type not in BITS:
        file.refuse(f"the value {shown(value.name)} has the unknown element type {tensor.elem_type}")
    # A negative extent is how some exporters write a free one.
    extents = [max(dim.dim_value, 0) if dim.HasField("dim_value") else 1 for dim in tensor.shape.dim]
    check_extents(extents, BITS.get(tensor.elem_type, 0), f"the value {shown(value.name)}", file)


def _check_input(value: onnx.ValueInfoProto, file: File) -> None:
    kind = value.type.WhichOneof("value")
    what = f"the input {shown(value.name)}"
    if kind is None:
        file.refuse(f"{what} has no type")
    if kind != "tensor_type":
        file.refuse(
            f"{what} is {_KINDS.get(kind, kind)}; only tensors can be given to a network that is measured",
            hint="Export the part whose inputs are tensors.",
        )
    if not value.type.tensor_type.elem_type:
        file.refuse(f"{what} has no element type")


def _check_names(names: Iterable[str], file: File) -> None:
    """Names are text of a bounded length; what is no UTF-8 comes out of protobuf as bytes."""
    for name in names:
        if not isinstance(name, str):
            file.refuse(f"the name {shown(name)} is no UTF-8")
        if len(name) > LONGEST_NAME:
            file.refuse(f"the name {shown(name)} has {len(name)} characters; at most {LONGEST_NAME} are read")


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All stored tensors that may lie outside of the file."""
    yield from proto.graph.initializer
    todo = [proto.graph.node, *(function.node for function in proto.functions)]
    while todo:
        for node in todo.pop():
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
            for inner in inner_graphs(node):
                yield from inner.initializer
                todo.append(inner.node)
