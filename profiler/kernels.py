"""One kernel alone: timed over rotated weights, so that its activations are warm and its weights cold, as in a network.

Kernel times inside a network come from the runtime's profiler, which adds time of its own; a kernel replayed alone is
timed like a network, unprofiled. The two hold each other to account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from device_profiles.conditions import Conditions
from device_profiles.facts import Unavailable
from device_profiles.profile import Target
from profiler import compilers, runtimes
from profiler.drawing import Arrays, draw
from profiler.measurement import Latency
from profiler.onnx_check import parse
from profiler.onnx_graph import read_graph
from profiler.operators import Node, Operator, OperatorGraph, operator_to_plain
from profiler.store import Store
from profiler.subjects import Subject
from profiler.summary import empty_call_ms, latencies, reference_ns
from profiler.work import weight_bytes

#: Sets of weights to rotate through, by what the device is: together they exceed what a core's own caches hold, or are
#: five times the L2 cache of the largest GPUs. There are at most `MOST_COPIES`, on a GPU in one CUDA graph.
ROTATED_BYTES = {"cpu": 4 << 20, "gpu": 256 << 20}
FEWEST_COPIES, MOST_COPIES = 8, 64


def kernel_subjects(operators: Iterable[Operator], target: Target, nodes: Iterable[Node] = ()) -> list[Subject]:
    """Distinct kernels as something to measure; those that the target's runtime cannot replay alone are left out.

    Args:
        operators: the kernels.
        target: whose runtime replays them.
        nodes: uses of them, whose small whole inputs (axes, sizes, indices) are those that they are replayed with.
    """
    compiler, device = compilers.load(target.runtime.name), runtimes.REGISTRY.get(target.runtime.name).traits.device
    values = {node.operator: dict(node.values) for node in nodes if node.values}
    found = []
    for operator in dict.fromkeys(operators):
        copies = rotated_copies(operator, device)
        model = compiler.kernel_model(operator_to_plain(operator), copies, values.get(operator))
        if model is None:
            continue
        is_onnx = model.suffix == ".onnx"
        graph = read_graph(model.content) if is_onnx else _alike(operator, copies)
        found.append(
            Subject(
                graph.digest,
                str(operator),
                graph,
                _given(model.content),
                kernel=operator,
                copies=copies,
                suffix=model.suffix,
                inputs=_whole(model.content, graph, values.get(operator, {})) if is_onnx else None,
            )
        )
    return found


def _alike(operator: Operator, copies: int) -> OperatorGraph:
    """Some kernels side by side that read the same values."""
    reads = tuple("" if tensor is None else f"in{i}" for i, tensor in enumerate(operator.inputs))
    inputs = tuple(
        (name, tensor)
        for name, tensor in zip(reads, operator.inputs, strict=True)
        if tensor is not None and not tensor.constant
    )
    writes = [tuple(f"out{i}_{copy}" for i in range(len(operator.outputs))) for copy in range(copies)]
    nodes = tuple(Node(operator, reads, written) for written in writes)
    return OperatorGraph(nodes, inputs, tuple(name for written in writes for name in written))


def _whole(content: bytes, graph: OperatorGraph, values: Mapping[int, Sequence[int | float]]) -> Arrays | None:
    """Inputs of a kernel that reads whole numbers, or None: drawn by the runtime."""
    import numpy as np

    tensors = dict(graph.inputs)
    if not any("int" in tensor.dtype or tensor.dtype == "bool" for tensor in tensors.values()):
        return None
    given = {
        f"in{position}": np.array(numbers, dtype=tensors[f"in{position}"].dtype).reshape(tensors[f"in{position}"].shape)
        for position, numbers in values.items()
        if f"in{position}" in tensors
    }
    return draw(parse(content), {}, given)


def rotated_copies(operator: Operator, device: str = "cpu") -> int:
    """Sets of weights that a kernel is given on a device, `cpu` or `gpu`."""
    weights = weight_bytes(operator)
    wanted = -(-ROTATED_BYTES[device] // weights) if weights else FEWEST_COPIES
    return min(max(wanted, FEWEST_COPIES), MOST_COPIES)


def measured_kernels(store: Store, conditions: Conditions) -> dict[Operator, Latency]:
    """Kernels that were measured alone under conditions, each as the latency of one copy, without the empty call.

    A kernel inside of its network pays no call of its own, so what an empty call costs is taken off before the copies
    share the rest.
    """
    measured = latencies(store, conditions)
    call_ms = empty_call_ms(store.process_facts(conditions), reference_ns(store, conditions))
    call = 0.0 if isinstance(call_ms, Unavailable) else call_ms
    found = {}
    for row in store.models().values():
        if row.kernel is not None and row.id in measured:
            found[row.kernel] = _per_copy(measured[row.id], row.copies, call)
    return found


def _per_copy(latency: Latency, copies: int, call_ms: float) -> Latency:
    def share(time_ms: float) -> float:
        return max(time_ms - call_ms, 0.0) / copies

    return replace(
        latency,
        value_ms=share(latency.value_ms),
        low_ms=share(latency.low_ms),
        high_ms=share(latency.high_ms),
        typical_ms=share(latency.typical_ms),
    )


def _given(content: bytes) -> Callable[[], bytes]:
    return lambda: content
