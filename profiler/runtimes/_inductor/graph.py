"""Recorded kernels as an operator graph in plain lists: ONNX's operators, or those of the module, with their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from profiler.runtimes._inductor.recording import Buffer, Kernel, Recording

#: The runtime's name, which is the domain of its kernels.
RUNTIME = "torch-compile"
#: Operators that multiply matrices: what a kernel is, whatever else runs with it.
PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Attention", "Einsum", "LSTM", "GRU", "RNN"})
#: Operators that say best what a loop is, after these.
_LOOPS = (
    "Softmax", "LogSoftmax", "LayerNormalization", "AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool",
    "ReduceMean", "ReduceSum", "ReduceMax", "Resize",
)  # fmt: skip
_PRECISIONS = {"float32": "fp32", "float64": "fp64", "float16": "fp16", "bfloat16": "bf16", "int8": "int8"}
#: ONNX operators by oneDNN's words for what runs behind its own.
_BEHIND = {
    "relu": "Relu", "hardswish": "HardSwish", "swish": "Swish", "sigmoid": "Sigmoid", "tanh": "Tanh", "gelu": "Gelu",
    "leaky_relu": "LeakyRelu", "hardtanh": "Clip", "add": "Add", "mul": "Mul", "sub": "Sub",
}  # fmt: skip


def plain(recording: Recording, known: Sequence[Any]) -> dict[str, Any]:
    """The graph.

    Args:
        recording: of a compilation.
        known: operators by number: name, plain operator, names of what it reads.
    """
    left = [i for i, (_, operator, _) in enumerate(known) if operator[1] in PRODUCTS]
    for kernel in recording.kernels:
        left = [i for i in left if i not in kernel.numbers]
    operators: list[list[Any]] = []
    nodes: list[list[Any]] = []
    chosen = [_with_product(kernel, known, left) for kernel in recording.kernels]
    by_libraries = {
        i for kernel, numbers in zip(recording.kernels, chosen, strict=True) if _library(kernel) for i in numbers
    }
    for kernel, numbers in zip(recording.kernels, chosen, strict=True):
        # What a loop does for a library's product is no product.
        own = [i for i in numbers if _library(kernel) or i not in by_libraries or known[i][1][1] not in PRODUCTS]
        name, operator, reads, writes = _kernel(kernel, own, known)
        nodes.append([len(operators), reads, writes, name])
        operators.append(operator)
    return {
        "schema": "hwnas.graph/1",
        "runtime": RUNTIME,
        "inputs": [[name, _tensor(shape, dtype)] for name, shape, dtype, _ in recording.inputs],
        "outputs": recording.outputs,
        "operators": operators,
        "nodes": nodes,
    }


def _library(kernel: Kernel) -> bool:
    return kernel.primitive != "cpp"


def _with_product(kernel: Kernel, known: Sequence[Any], left: list[int]) -> list[int]:
    """The numbers of a kernel; of a library's product that alone, since the others made what it reads.

    Where freezing lost its number, the next of equal size takes its place.
    """
    words = ("conv", "linear", "addmm", "mm", "gemm", "template")
    if not _library(kernel) or not any(word in kernel.primitive for word in words):
        return kernel.numbers
    products = [i for i in kernel.numbers if known[i][1][1] in PRODUCTS]
    if products or not kernel.writes:
        return products[-1:] if "template" not in kernel.primitive else kernel.numbers
    sizes = {prod(shape) for _, shape, _, _ in kernel.writes}
    for i in left:
        outputs = known[i][1][4]
        if outputs and prod(outputs[0][0]) in sizes:
            left.remove(i)
            return [i]
    return kernel.numbers


def _kernel(
    kernel: Kernel, numbers: Sequence[int], known: Sequence[Any]
) -> tuple[str, list[Any], list[str], list[str]]:
    """Name, plain operator, names of what it reads and of what it writes."""
    attributes: dict[str, Any] = {"primitive": kernel.primitive, "precision": _precision(kernel)}
    kinds = [known[i][1][1] for i in numbers]
    behind = [_BEHIND.get(word, word) for word in kernel.fused]
    reads, writes = kernel.reads, kernel.writes
    if not numbers:
        origin = next(iter((*kernel.moved, *kernel.numbers)), None)
        moved = kernel.event if origin is None else known[origin][0]
        kind = "Loop" if kernel.numbers or not kernel.moved else "Reorder"
        inputs = [_tensor(*one[1:]) for one in reads]
        operator: list[Any] = [
            RUNTIME,
            kind,
            sorted(map(list, attributes.items())),
            inputs,
            [_tensor(*w[1:]) for w in writes],
        ]
        return f"{moved}/{kind.lower()}", operator, [one[0] for one in reads], [one[0] for one in writes]
    core = _core(kinds)
    name, own, own_reads = known[numbers[core]]
    fused = [kind for i, kind in enumerate(kinds) if i != core] + behind + ["Reorder"] * bool(kernel.moved)
    attributes |= {key: value for key, value in own[2] if key not in attributes}
    if fused:
        attributes["fused"] = fused
    pairs: list[tuple[str, list[Any] | None]] = [(one[0], _tensor(*one[1:])) for one in reads]
    made = [(one[0], _tensor(*one[1:])) for one in writes]
    if kinds[core] in PRODUCTS and own[3]:
        pairs = _operands(own, own_reads, reads, attributes["precision"])
        made = _results(own, made, f"{name}:0")
    named = sorted(map(list, attributes.items()))
    operator = [RUNTIME, kinds[core], named, [one for _, one in pairs], [one for _, one in made]]
    return name, operator, [one for one, _ in pairs], [one for one, _ in made]


def _core(kinds: Sequence[str]) -> int:
    for wanted in (PRODUCTS, _LOOPS):
        found = next((i for i, kind in enumerate(kinds) if kind in wanted), None)
        if found is not None:
            return found
    return 0


def _operands(
    own: Any, names: Sequence[str], reads: Sequence[Buffer], precision: str
) -> list[tuple[str, list[Any] | None]]:
    """Operands of a product in ONNX's order: weights as ONNX has them, activations as the kernel reads them."""
    rest = [one for one in reads if not one[3]]
    lower = next((dtype for dtype, name in _PRECISIONS.items() if name == precision), "float32")
    found: list[tuple[str, list[Any] | None]] = []
    for tensor, name in zip(own[3], names, strict=True):
        same = [one for one in rest if tensor and not tensor[2] and prod(one[1]) == prod(tensor[0])]
        if same:
            rest.remove(same[0])
            shape = same[0][1] if len(same[0][1]) == len(tensor[0]) else tensor[0]
            found.append((same[0][0], _tensor(shape, same[0][2])))
        elif tensor is None:
            found.append(("", None))
        else:
            dtype = lower if tensor[1] == "float32" else tensor[1]
            found.append((name, [tensor[0], dtype, tensor[2]]))
    return found + [(one[0], _tensor(*one[1:])) for one in rest]


def _results(own: Any, made: list[Any], name: str) -> list[Any]:
    """What a product writes, first; its own result where other operators run behind it that change the shape."""
    size = prod(own[4][0][0])
    same = [one for one in made if prod(one[1][0]) == size]
    return same[:1] + [one for one in made if one not in same[:1]] if same else [(name, own[4][0]), *made]


def _tensor(shape: Sequence[int], dtype: str, constant: bool = False) -> list[Any]:
    return [list(shape), dtype, constant]


def _precision(kernel: Kernel) -> str:
    """The type of the activations that a kernel reads, else of what it writes."""
    kinds = [dtype for *_, dtype, constant in kernel.reads if not constant] + [one[2] for one in kernel.writes]
    return next((_PRECISIONS[kind] for kind in kinds if kind in _PRECISIONS), "fp32")
