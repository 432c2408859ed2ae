"""One kernel alone: timed over rotated weights, so that its activations are warm and its weights cold, as in a network.

Kernel times inside a network come from the runtime's profiler, which adds time of its own; a kernel replayed alone is
timed like a network, unprofiled. The two hold each other to account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from device_profiles.conditions import Conditions
from device_profiles.profile import Target
from profiler import runtimes
from profiler.measurement import Latency
from profiler.onnx_graph import read_graph
from profiler.operators import Operator, operator_to_plain
from profiler.store import Store
from profiler.subjects import Subject
from profiler.summary import latencies
from profiler.work import weight_bytes

#: Sets of weights to rotate through: together they exceed what a core's own caches hold.
ROTATED_BYTES = 4 << 20
FEWEST_COPIES, MOST_COPIES = 8, 64


def kernel_subjects(operators: Iterable[Operator], target: Target) -> list[Subject]:
    """Distinct kernels as something to measure; those that the target's runtime cannot replay alone are left out."""
    runtime = runtimes.load(target.runtime.name)
    found = []
    for operator in dict.fromkeys(operators):
        copies = rotated_copies(operator)
        content = runtime.kernel_model(operator_to_plain(operator), copies)
        if content is not None:
            graph = read_graph(content)
            found.append(Subject(graph.digest, str(operator), graph, _given(content), kernel=operator, copies=copies))
    return found


def rotated_copies(operator: Operator) -> int:
    """Sets of weights that a kernel is given."""
    weights = weight_bytes(operator)
    wanted = -(-ROTATED_BYTES // weights) if weights else FEWEST_COPIES
    return min(max(wanted, FEWEST_COPIES), MOST_COPIES)


def measured_kernels(store: Store, conditions: Conditions) -> dict[Operator, Latency]:
    """Kernels that were measured alone under conditions, each as the latency of one copy."""
    measured = latencies(store, conditions)
    found = {}
    for row in store.models().values():
        if row.kernel is not None and row.id in measured:
            found[row.kernel] = _per_copy(measured[row.id], row.copies)
    return found


def _per_copy(latency: Latency, copies: int) -> Latency:
    return replace(
        latency,
        value_ms=latency.value_ms / copies,
        low_ms=latency.low_ms / copies,
        high_ms=latency.high_ms / copies,
        typical_ms=latency.typical_ms / copies,
    )


def _given(content: bytes) -> Callable[[], bytes]:
    return lambda: content
