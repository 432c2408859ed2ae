"""What ran is proved: kernels that compute ran in the precision that was asked for, or the model is not measured."""

from __future__ import annotations

from device_profiles.errors import WrongPrecision
from profiler.operators import Operator, OperatorGraph
from profiler.work import macs

#: Precisions by the element type of what a kernel computes with.
_PRECISIONS = {
    "float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8",
}  # fmt: skip


def precision_of(operator: Operator) -> str:
    """The precision in which a kernel computes: what its runtime says, else the type of what it reads first."""
    said = operator.attribute("precision")
    if said is not None:
        return str(said)
    first = next((tensor for tensor in operator.inputs if tensor is not None), None)
    return _PRECISIONS.get(first.dtype, first.dtype) if first is not None else "fp32"


def require_precision(graph: OperatorGraph, asked: str, captured: OperatorGraph, name: str) -> None:
    """Refuse a model whose kernels run in another precision than was asked for.

    Kernels that compute no products (a change of layout, a softmax) may run in any. A model that was made with other
    precisions of its own keeps these.

    Args:
        graph: the fused kernels.
        asked: precision of the target.
        captured: the model's own operators.
        name: of the model.

    Raises:
        WrongPrecision: a kernel does; the message names the first, and how many do.
    """
    allowed = {asked, *(_own(captured) - {"fp32"})}
    computing = [node.operator for node in graph.nodes if macs(node.operator)]
    wrong = [operator for operator in computing if precision_of(operator) not in allowed]
    if wrong:
        raise WrongPrecision(
            f"{len(wrong)} of {len(computing)} computing kernels of {name} run in "
            f"{', '.join(sorted(set(map(precision_of, wrong))))}, not in {asked}: {wrong[0]} is the first",
            hint="Measure it with a target of that precision, or with another runtime.",
        )


def _own(captured: OperatorGraph) -> set[str]:
    """Precisions of the values that a model has itself."""
    tensors = [tensor for operator in captured.operators for tensor in (*operator.inputs, *operator.outputs)]
    return {_PRECISIONS[tensor.dtype] for tensor in tensors if tensor is not None and tensor.dtype in _PRECISIONS}
