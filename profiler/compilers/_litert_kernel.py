"""One kernel of LiteRT as a `.tflite` file of its own, so that it can be timed alone with rotated weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from profiler.runtimes._litert.words import DTYPES, ORDERS

#: Scale of all that is quantised, but for outputs that have another.
SCALE, OTHER_SCALE = 0.05, 0.06
#: And of outputs that XNNPACK leaves to LiteRT because of their scales: further from `SCALE` than it takes.
REFUSED_SCALE = SCALE * 2.0**-14
_REFUSED_BY_SCALE = frozenset({"ADD", "SUB", "MUL"})
#: Scale and zero of outputs where LiteRT allows no other.
_FIXED = {"LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "LOG_SOFTMAX": (16 / 256, 127), "TANH": (1 / 128, 0)}
#: The axis of a weight along which its scales are.
_CHANNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0, "FULLY_CONNECTED": 0}


def build(operator: list[Any], copies: int) -> bytes | None:
    """A model of `copies` equal operators that read the same activations and weights of their own.

    Args:
        operator: domain, op_type, attributes, inputs and outputs, as `profiler.operators.operator_to_plain` writes
            them.
        copies: at least 1.

    Returns:
        The model, or None where a line of text does not tell what it does: control flow, operators of others.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    domain, _, pairs, inputs, outputs = operator
    attributes = dict(pairs)
    name = str(attributes.get("builtin", ""))
    code = getattr(schema.BuiltinOperator, name, None)
    known = {tensor[1] for tensor in (*inputs, *outputs) if tensor is not None} <= set(DTYPES.values())
    if domain != "litert" or code is None or name in ("CUSTOM", "IF", "WHILE", "STABLEHLO_COMPOSITE") or not known:
        return None
    made = _Model(schema, name, attributes)
    layouts = list(attributes.get("layout") or [""] * (len(inputs) + len(outputs)))
    positions = _positions(name, len(inputs))
    read = {
        position: made.tensor(f"in{i}", tensor, layout)
        for i, (position, tensor, layout) in enumerate(zip(positions, inputs, layouts, strict=False))
        if tensor is not None and not tensor[2]
    }
    made.graph.inputs = list(read.values())
    made.graph.outputs = []
    for copy in range(copies):
        own = {
            position: made.weight(f"w{position}_{copy}", position, tensor, layout)
            for position, tensor, layout in zip(positions, inputs, layouts, strict=False)
            if tensor is not None and tensor[2]
        }
        if name == "TRANSPOSE_CONV":
            own[0] = made.weight(f"shape_{copy}", 0, [[4], "int32", True], "")
        last = max([*read, *own], default=-1)
        written = [
            made.tensor(f"out{i}_{copy}", tensor, layout, output=True)
            for i, (tensor, layout) in enumerate(zip(outputs, layouts[len(inputs) :], strict=True))
        ]
        made.add([(read | own).get(position, -1) for position in range(last + 1)], written)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(made.model(code).Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _positions(name: str, count: int) -> list[int]:
    """Where LiteRT has each input: of a transposed convolution, the image is third, and its shape first."""
    return [2, 1, *range(3, count + 1)] if name == "TRANSPOSE_CONV" else list(range(count))


class _Model:
    """A model that is being built."""

    def __init__(self, schema: Any, name: str, attributes: dict[str, Any]) -> None:
        self.schema, self.name, self.attributes = schema, name, attributes
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.buffers = [schema.BufferT()]
        self.rng = np.random.default_rng(0)
        self.codes = {dtype: getattr(schema.TensorType, kind) for kind, dtype in DTYPES.items()}

    def tensor(self, name: str, tensor: list[Any], layout: str, *, output: bool = False) -> int:
        """Add a value; it has one scale if it is quantised."""
        shape, dtype, _ = tensor
        made = self.schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, _physical(shape, layout), self.codes[dtype], 0
        made.hasRank = True
        if dtype in ("int8", "uint8", "int16"):
            other = output and not self.attributes.get("same_scale", 1)
            refused = self.attributes.get("primitive") != "xnnpack" and self.name in _REFUSED_BY_SCALE
            another = REFUSED_SCALE if refused else OTHER_SCALE
            scale, zero = _FIXED.get(self.name, (another if other else SCALE, 0)) if output else (SCALE, 0)
            made.quantization = self._scales(np.array([scale]), 0, zero)
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def weight(self, name: str, position: int, tensor: list[Any], layout: str) -> int:
        """Add a constant: the real numbers where they decide, small random ones else."""
        number = self.tensor(name, tensor, layout)
        made = self.graph.tensors[number]
        numbers = self.attributes.get(f"const{position}")
        dtype = np.dtype(tensor[1])
        if numbers is not None:
            array = np.array(numbers, dtype=dtype)
        elif dtype.kind == "f":
            array = (self.rng.standard_normal(made.shape) * 0.1).astype(dtype)
        elif dtype.itemsize == 1:
            array = self.rng.integers(-127, 128, made.shape).astype(dtype)
        else:
            array = np.zeros(made.shape, dtype)
        if dtype.itemsize == 1 and self.attributes.get("by_channel") and self.name in _CHANNELS:
            axis = _CHANNELS[self.name]
            made.quantization = self._scales(np.full(made.shape[axis], SCALE), axis, 0)
        elif dtype == np.int32 and self.name in _CHANNELS and numbers is None:
            count = made.shape[0] if self.attributes.get("by_channel") else 1
            made.quantization = self._scales(np.full(count, SCALE * SCALE), 0, 0)
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self.buffers.append(buffer)
        made.buffer = len(self.buffers) - 1
        return number

    def add(self, inputs: list[int], outputs: list[int]) -> None:
        """Add the operator once more."""
        made = self.schema.OperatorT()
        made.inputs, made.outputs, made.opcodeIndex = inputs, outputs, 0
        kind = self.attributes.get("tfl")
        if kind is not None:
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, kind)
            made.builtinOptions = getattr(self.schema, f"{kind}T")()
            for key, value in self.attributes.items():
                if key.startswith("tfl."):
                    setattr(made.builtinOptions, key[4:], list(value) if isinstance(value, list | tuple) else value)
        self.graph.operators.append(made)
        self.graph.outputs += outputs

    def model(self, code: int) -> Any:
        """The whole."""
        made, operator = self.schema.ModelT(), self.schema.OperatorCodeT()
        operator.builtinCode, operator.deprecatedBuiltinCode = code, min(code, 127)
        operator.version = int(self.attributes["version"])
        made.version, made.subgraphs, made.buffers, made.operatorCodes = 3, [self.graph], self.buffers, [operator]
        return made

    def _scales(self, scales: Any, axis: int, zero: int) -> Any:
        made = self.schema.QuantizationParametersT()
        made.scale, made.zeroPoint = scales.astype(np.float32), np.full(len(scales), zero, np.int64)
        made.quantizedDimension = axis
        return made


def _physical(shape: list[int], layout: str) -> list[int]:
    """A shape in LiteRT's order."""
    if not layout:
        return list(shape)
    found = [0] * len(shape)
    for place, axis in enumerate(ORDERS[layout]):
        found[axis] = shape[place]
    return found
