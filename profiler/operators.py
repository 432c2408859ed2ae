"""Operators and graphs of operators: immutable, hashable, in the words of ONNX, without torch.

An `OperatorGraph` is what a network asks for (captured from a model) or what a runtime made of it (its fused kernels);
the type is the same, `runtime` tells them apart.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from device_profiles.errors import SchemaMismatch
from device_profiles.reading import parse_json

#: Versions of graphs as text. 1: first (2026-11). 2: nodes have their `values` beside (2026-11); written if there are.
_SCHEMAS = ("hwnas.graph/1", "hwnas.graph/2")

#: Bytes of one element; ONNX tensor element types by their numpy names.
DTYPE_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1,
    "uint8": 1, "bool": 1,
    "uint64": 8, "uint32": 4, "uint16": 2,
}  # fmt: skip

#: Pairs of an input's position and its numbers.
Values = tuple[tuple[int, tuple[int | float, ...]], ...]
AttributeValue = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True)
class Tensor:
    """Type and static shape of a value.

    Attributes:
        shape: all dimensions known; `()` is a scalar.
        dtype: a key of `DTYPE_BYTES`, or `unknown`.
        constant: True for weights and other initialisers.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    constant: bool = False

    @cached_property
    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    @cached_property
    def bytes(self) -> int:
        """Size in bytes."""
        return self.elements * DTYPE_BYTES.get(self.dtype, 4)

    def __str__(self) -> str:
        mark = "w" if self.constant else ""
        return f"{mark}{'x'.join(map(str, self.shape)) or 'scalar'}" + (
            "" if self.dtype == "float32" else f":{self.dtype}"
        )


#: What no run told: a list of tensors, an optional one, or a value that was never computed.
UNKNOWN = Tensor((), "unknown")


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator, or one fused kernel of a runtime.

    Equal operators cost the same: names of nodes and values are not part of it. They are equal if their keys are.

    Attributes:
        domain: the operator set: `""` is ONNX's own; `com.microsoft.nchwc` holds ONNX Runtime's blocked kernels.
        op_type: the operator's name in that set.
        attributes: sorted pairs of name and value.
        inputs: in order; None where an optional input is left out.
        outputs: in order.
    """

    domain: str
    op_type: str
    attributes: tuple[tuple[str, AttributeValue], ...]
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, or `default`."""
        return next((value for key, value in self.attributes if key == name), default)

    @cached_property
    def kind(self) -> str:
        """The operator with its domain: `Conv`, `com.microsoft.nchwc:Conv`."""
        return f"{self.domain}:{self.op_type}" if self.domain else self.op_type

    @cached_property
    def key(self) -> str:
        """The operator as one line of text; equal keys are equal operators."""
        attributes = ",".join(f"{name}={_plain(value)}" for name, value in self.attributes)
        inputs = ",".join("-" if tensor is None else str(tensor) for tensor in self.inputs)
        return f"{self.kind}[{attributes}]({inputs})->({','.join(map(str, self.outputs))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Operator) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        first = next((tensor for tensor in self.inputs if tensor is not None), None)
        shape = "x".join(map(str, first.shape)) if first else ""
        out = "x".join(map(str, self.outputs[0].shape)) if self.outputs else ""
        kernel = self.attribute("kernel_shape")
        window = f" k{'x'.join(map(str, kernel))}" if kernel else ""
        return f"{self.op_type} {shape}->{out}{window}"


@dataclass(frozen=True)
class Node:
    """A use of an operator in a graph.

    Attributes:
        operator: what runs.
        inputs: names of the values it reads, aligned with `operator.inputs`; `""` where one is left out.
        outputs: names of the values it writes.
        name: the node's name in the model it came from, for people.
        values: numbers of its small inputs that decide what it does (axes, sizes, indices, scales), as pairs of
            position and flat values, as far as they are known. No part of what the operator is: kernels are replayed
            with them.
    """

    operator: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    name: str = ""
    values: Values = ()


@dataclass(frozen=True)
class OperatorGraph:
    """Operators in topological order, and how values run between them.

    Attributes:
        nodes: in an order in which they can run.
        inputs: the network's inputs, as pairs of name and tensor.
        outputs: names of the values that leave the network.
        runtime: `""` for a captured network; the runtime's name where the nodes are its fused kernels.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[tuple[str, Tensor], ...]
    outputs: tuple[str, ...]
    runtime: str = ""

    @cached_property
    def operators(self) -> tuple[Operator, ...]:
        """The operators of the nodes, in order, repeats included."""
        return tuple(node.operator for node in self.nodes)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the structure: equal for equal operators and wiring, whatever the names."""
        number: dict[str, int] = {name: i for i, (name, _) in enumerate(self.inputs)}
        lines = [",".join(str(tensor) for _, tensor in self.inputs), self.runtime]
        for node in self.nodes:
            for name in node.outputs:
                number.setdefault(name, len(number))
            wires = ",".join(str(number[name]) if name in number else "w" for name in node.inputs)
            lines.append(f"{node.operator.key}<{wires}>")
        lines.append(",".join(str(number.get(name, -1)) for name in self.outputs))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def to_json(self) -> str:
        """The graph as text; `from_json` reads it back."""
        operators = list(dict.fromkeys(self.operators))
        index = {operator: i for i, operator in enumerate(operators)}
        valued = any(node.values for node in self.nodes)
        return json.dumps(
            {
                "schema": _SCHEMAS[valued],
                "runtime": self.runtime,
                "inputs": [[name, tensor_to_plain(tensor)] for name, tensor in self.inputs],
                "outputs": list(self.outputs),
                "operators": [operator_to_plain(operator) for operator in operators],
                "nodes": [
                    [index[n.operator], list(n.inputs), list(n.outputs), n.name, *([n.values] if valued else [])]
                    for n in self.nodes
                ],
            },
            separators=(",", ":"),
        )

    @staticmethod
    def from_json(text: str) -> OperatorGraph:
        """Read what `to_json` wrote.

        Raises:
            SchemaMismatch: the text is not a graph of this version.
        """
        data = parse_json(text, "an operator graph", kind=SchemaMismatch)
        try:
            if data["schema"] not in _SCHEMAS:
                raise SchemaMismatch(f"expected a graph of schema {' or '.join(_SCHEMAS)}, got {data['schema']!r}")
            operators = [operator_from_plain(plain) for plain in data["operators"]]
            return OperatorGraph(
                nodes=tuple(
                    Node(operators[_index(i, len(operators))], _texts(ins), _texts(outs), _text(name), _values(rest))
                    for i, ins, outs, name, *rest in _nodes(data)
                ),
                inputs=tuple((_text(name), tensor_from_plain(tensor)) for name, tensor in data["inputs"]),
                outputs=_texts(data["outputs"]),
                runtime=_text(data["runtime"]),
            )
        except (ValueError, LookupError, TypeError) as error:
            raise SchemaMismatch(f"cannot read an operator graph: {error}") from error


def _nodes(data: dict[str, Any]) -> list[Any]:
    """The nodes, each with as many fields as the version has."""
    fields = 4 + _SCHEMAS.index(data["schema"])
    if any(len(node) != fields for node in data["nodes"]):
        raise ValueError(f"a node has not {fields} fields")
    return list(data["nodes"])


def _values(rest: list[Any]) -> Values:
    return tuple((int(position), tuple(numbers)) for found in rest for position, numbers in found)


def operator_to_plain(operator: Operator) -> list[Any]:
    """An operator as JSON-ready lists."""
    inputs = [None if tensor is None else tensor_to_plain(tensor) for tensor in operator.inputs]
    attributes = [[name, list(value) if isinstance(value, tuple) else value] for name, value in operator.attributes]
    return [operator.domain, operator.op_type, attributes, inputs, [tensor_to_plain(t) for t in operator.outputs]]


def operator_from_plain(plain: Any) -> Operator:
    """Read what `operator_to_plain` made.

    Raises:
        SchemaMismatch: it is no operator.
    """
    try:
        domain, op_type, attributes, inputs, outputs = plain
        return Operator(
            domain=_text(domain),
            op_type=_text(op_type),
            attributes=tuple((_text(name), _attribute(value)) for name, value in attributes),
            inputs=tuple(None if tensor is None else tensor_from_plain(tensor) for tensor in inputs),
            outputs=tuple(tensor_from_plain(tensor) for tensor in outputs),
        )
    except (ValueError, TypeError) as error:
        raise SchemaMismatch(f"cannot read an operator: {error}") from error


def tensor_to_plain(tensor: Tensor) -> list[Any]:
    """A tensor as JSON-ready lists."""
    return [list(tensor.shape), tensor.dtype, tensor.constant]


def tensor_from_plain(plain: Any) -> Tensor:
    """Read what `tensor_to_plain` made.

    Raises:
        SchemaMismatch: it is no tensor.
    """
    try:
        shape, dtype, constant = plain
    except (ValueError, TypeError) as error:
        raise SchemaMismatch(f"cannot read a tensor: {error}") from error
    if not (isinstance(shape, list) and isinstance(dtype, str) and isinstance(constant, bool)) or any(
        type(extent) is not int or extent < 0 for extent in shape
    ):
        raise SchemaMismatch(f"cannot read a tensor: {str(plain)[:80]} is none")
    return Tensor(tuple(shape), dtype, constant)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:80]} is no name")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{str(values)[:80]} are no names")
    return tuple(map(_text, values))


def _index(value: Any, count: int) -> int:
    if type(value) is not int or not 0 <= value < count:
        raise ValueError(f"{str(value)[:40]} is no index of {count} operators")
    return value


def _attribute(value: Any) -> AttributeValue:
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, (int, float, str)) for part in parts):
        raise TypeError(f"{str(value)[:80]} is no attribute")
    return tuple(value) if isinstance(value, list) else value


def _plain(value: AttributeValue) -> str:
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)
