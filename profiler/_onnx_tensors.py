"""Stored tensors of ONNX files: whether what a file says of its data is true, before anybody reads the data."""

from __future__ import annotations

import math
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from device_profiles.errors import InvalidModel

if TYPE_CHECKING:
    import onnx

#: Bits of an element, by `TensorProto.DataType`; a text has none.
BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 8: 0, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
#: The typed field of each type; the others are kept as 32-bit integers.
_FIELDS = {1: "float_data", 14: "float_data", 8: "string_data", 7: "int64_data", 11: "double_data", 15: "double_data",
           12: "uint64_data", 13: "uint64_data"}  # fmt: skip
_TYPED = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_STRING, _COMPLEX, _INDICES = 8, (14, 15), (3, 5, 6, 7)
#: More than any device holds (1 TiB): whoever allocates it fails, or takes the machine down.
LARGEST_TENSOR_BYTES = 1 << 40
#: A sparse tensor is unpacked when it is loaded: a few bytes of a file could ask for all memory.
LARGEST_UNPACKED_BYTES = 1 << 31
#: Names in messages are cut: a file may hold one of 100 MB.
_SHOWN = 60
_KEYS = ("location", "offset", "length", "checksum")
#: ONNX Runtime's mark of data that lies at an address of its own memory, which a file must not name.
_ADDRESS = "_ORT_MEM_ADDR_"


def shown(text: str) -> str:
    """A name for a message: quoted, escaped, and not endless."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


@dataclass
class File:
    """What is checked.

    Attributes:
        name: of the model, for messages.
        folder: where its data files may lie; None where there can be none.
        sizes: of the data files that were looked at, by location.
        unpacked_bytes: of the sparse weights so far.
    """

    name: str
    folder: Path | None
    sizes: dict[str, int] = field(default_factory=dict)
    unpacked_bytes: int = 0

    def refuse(
        self, reason: str, hint: str = "Export the model again; onnx.checker.check_model tells more."
    ) -> NoReturn:
        """End with what is wrong."""
        raise InvalidModel(f"{self.name}: {reason}", hint=hint)


def bytes_of(tensor: onnx.TensorProto) -> int:
    """Bytes that the elements of a tensor take when they are stored raw."""
    bits: int = math.prod(tensor.dims) * BITS[tensor.data_type]
    return (bits + 7) // 8


def check_tensor(tensor: onnx.TensorProto, file: File) -> None:
    """Refuse a tensor whose type is unknown, or whose dimensions and data do not belong together."""
    what = f"the weight {shown(tensor.name)}"
    if tensor.data_type not in BITS:
        file.refuse(f"{what} has the unknown element type {tensor.data_type}")
    check_extents(list(tensor.dims), BITS[tensor.data_type], what, file)
    if tensor.HasField("segment"):
        file.refuse(f"{what} is a segment of another, which nobody reads", hint="Save it whole.")
    given = [name for name in _TYPED if len(getattr(tensor, name))]
    raw_bytes = len(tensor.raw_data) if tensor.HasField("raw_data") else 0
    if raw_bytes:
        given.append("raw_data")
    if tensor.data_location == 1:  # TensorProto.EXTERNAL
        given.append("external_data")
        if len(given) == 1:
            check_external(tensor, file)
    if len(given) > 1:
        file.refuse(f"{what} has data in {' and in '.join(given)}; which of them is meant cannot be told")
    count = math.prod(tensor.dims)
    if not given:
        if count:
            file.refuse(f"{what} has the shape {list(tensor.dims)} and no data")
    elif given == ["raw_data"]:
        if tensor.data_type == _STRING:
            file.refuse(f"{what} holds texts as raw data")
        if raw_bytes != bytes_of(tensor):
            file.refuse(f"{what} has {raw_bytes} bytes of data; the shape {list(tensor.dims)} needs {bytes_of(tensor)}")
    elif given != ["external_data"]:
        _check_typed(tensor, given[0], count, what, file)


def check_extents(extents: list[int], bits: int, what: str, file: File) -> None:
    """Refuse a shape that is negative or larger than any memory."""
    if any(extent < 0 for extent in extents):
        file.refuse(f"{what} has the shape {extents}; a dimension cannot be negative")
    if math.prod(extents) * max(bits, 8) > 8 * LARGEST_TENSOR_BYTES or any(extent >> 48 for extent in extents):
        file.refuse(f"{what} has the shape {extents}, more than any memory holds")


def _check_typed(tensor: onnx.TensorProto, given: str, count: int, what: str, file: File) -> None:
    wanted = _FIELDS.get(tensor.data_type, "int32_data")
    if given != wanted:
        file.refuse(f"{what} of the element type {tensor.data_type} has data in {given}; it belongs in {wanted}")
    entries, bits = len(getattr(tensor, given)), BITS[tensor.data_type]
    right = {count * 2 if tensor.data_type in _COMPLEX else count}
    if 0 < bits < 8:
        # Writers differ in how many of the smallest elements they pack into an integer.
        right |= {-(-count * bits // 8), -(-count * bits // 32)}
    if entries not in right:
        file.refuse(f"{what} has {entries} values; the shape {list(tensor.dims)} needs {max(right)}")


def check_sparse(sparse: onnx.SparseTensorProto, file: File) -> None:
    """Refuse a sparse tensor whose indices lead outside of it, or that unpacks into all memory."""
    import numpy as np
    from onnx import numpy_helper

    values, indices, extents = sparse.values, sparse.indices, list(sparse.dims)
    what = f"the sparse weight {shown(values.name)}"
    check_tensor(values, file)
    check_tensor(indices, file)
    bits = BITS[values.data_type]
    check_extents(extents, bits, what, file)
    if math.prod(extents) * bits > 8 * LARGEST_UNPACKED_BYTES:
        file.refuse(f"{what} of shape {extents} unpacks into more than {LARGEST_UNPACKED_BYTES} bytes")
    if values.data_location == 1 or indices.data_location == 1:
        file.refuse(f"{what} lies in a data file", hint="Save the model in one file.")
    if len(values.dims) != 1 or indices.data_type not in _INDICES or len(indices.dims) not in (1, 2):
        file.refuse(f"{what} needs a list of values, and one or two dimensions of integer indices")
    count, rank = values.dims[0], len(extents)
    if list(indices.dims) not in ([count], [count, rank]):
        file.refuse(f"{what} has indices of shape {list(indices.dims)} for {count} values of {rank} dimensions")
    places = numpy_helper.to_array(indices)
    limits = np.array([math.prod(extents)] if places.ndim == 1 else extents, dtype=np.int64)
    if places.size and (places.min() < 0 or (places.reshape(count, -1) >= limits).any()):
        file.refuse(f"{what} has indices outside of its shape {extents}")


def unpack_sparse(graph: onnx.GraphProto, file: File) -> None:
    """Make the sparse weights of a graph, which were checked, ordinary ones, as a runtime does when it loads them."""
    import numpy as np
    from onnx import numpy_helper

    for sparse in graph.sparse_initializer:
        extents = tuple(sparse.dims)
        file.unpacked_bytes += math.prod(extents) * BITS[sparse.values.data_type] // 8
        if file.unpacked_bytes > LARGEST_UNPACKED_BYTES:
            file.refuse(f"its sparse weights unpack into more than {LARGEST_UNPACKED_BYTES} bytes")
        values, places = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
        whole = np.zeros(extents, dtype=values.dtype)
        if places.ndim == 1:
            whole.reshape(-1)[places] = values
        else:
            whole[tuple(places.T)] = values
        graph.initializer.add().CopyFrom(numpy_helper.from_array(whole, sparse.values.name))
    graph.ClearField("sparse_initializer")


def check_external(tensor: onnx.TensorProto, file: File) -> None:
    """Refuse data that is not beside the model (a path that leads elsewhere could read any file), or not there."""
    what = f"the weight {shown(tensor.name)}"
    given: dict[str, str] = {}
    for entry in tensor.external_data:
        key, value = entry.key, entry.value
        if not isinstance(key, str) or not isinstance(value, str):
            file.refuse(f"{what} says of its data what is no UTF-8")
        if key in given:
            file.refuse(f"{what} gives the {shown(key)} of its data twice; which of them is meant cannot be told")
        if key not in _KEYS and not key.startswith("prepacked"):
            file.refuse(f"{what} gives {shown(key)} of its data, which is no known key")
        given[key] = value
    if tensor.data_type == _STRING:
        file.refuse(f"{what} holds texts in a data file")
    size = _size(given.get("location", ""), what, file)
    offset, length = (_number(given, key, what, file) for key in ("offset", "length"))
    needed = bytes_of(tensor)
    if length and length != needed:  # 0 is how a writer says that it is as long as the tensor
        file.refuse(f"{what} has {length} bytes of data; the shape {list(tensor.dims)} needs {needed}")
    if (offset or 0) + needed > size:
        file.refuse(
            f"{what} ends at byte {(offset or 0) + needed} of {shown(given['location'])}, which has {size}",
            hint="The data file was cut short, or is another model's; copy it again.",
        )


def _number(given: dict[str, str], key: str, what: str, file: File) -> int | None:
    text = given.get(key, "")
    if key not in given:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        file.refuse(f"{what} has the {key} {shown(text)} of its data; it must be a number of bytes, 0 or more")
    return int(text)


def _size(location: str, what: str, file: File) -> int:
    """Bytes of the data file at a location."""
    if location in file.sizes:
        return file.sizes[location]
    place = _place(location, file.folder)
    if place is None:
        file.refuse(
            f"{what} is kept in {shown(location)}, outside of its folder",
            hint="Put the data file itself beside the model, or save the model in one file.",
        )
    try:
        facts = place.stat()
        regular = stat.S_ISREG(facts.st_mode)
    except OSError:
        regular = False
    if not regular:
        file.refuse(f"needs the data file {shown(location)}, which is missing", hint="Copy it beside the model.")
    file.sizes[location] = facts.st_size
    return facts.st_size


def _place(location: str, folder: Path | None) -> Path | None:
    """Where a location leads, or None if that is not below the folder."""
    if folder is None or "\0" in location or "\\" in location or _ADDRESS in location:
        return None
    relative = Path(location)
    if relative.is_absolute() or ".." in relative.parts:
        return None
    try:
        place = (folder / relative).resolve()
        return place if place.is_relative_to(folder.resolve()) else None
    except (OSError, RuntimeError):  # too long, or a ring of links
        return None
