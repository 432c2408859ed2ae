"""What a predictor learns from: measured networks and the kernels inside them, out of a store."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from device_profiles.conditions import Conditions
from device_profiles.errors import InvalidData, InvalidTable
from device_profiles.facts import Unavailable
from predictors.models.protocol import DeviceFacts, KernelSamples
from predictors.prediction import UNITS
from predictors.streaming import Streaming, shows_pace, weights_of
from profiler.kernels import measured_kernels
from profiler.memory.liveness import weights
from profiler.operators import Operator, OperatorGraph
from profiler.store import Store
from profiler.summary import empty_call_ms, latencies, reference_ns


@dataclass(frozen=True)
class NetworkSamples:
    """Measured networks.

    Attributes:
        ids: the store's ids.
        spaces: spec of each one's space, or None.
        archs: text form of each in its space, or None.
        graphs: fused graphs.
        cost: `(n,)`, measured, in `unit`: of latency, in the machine's best state.
        repeats: `(n,)`, relative half-width of the interval that a repeated measurement falls into; 0 where nothing
            is known of it.
        unit: `ms`, `mJ` or `bytes`.
        call: what an empty call costs, part of every cost, in `unit`; None where that is not known.
    """

    ids: tuple[str, ...]
    spaces: tuple[str | None, ...]
    archs: tuple[str | None, ...]
    graphs: tuple[OperatorGraph, ...]
    cost: NDArray[np.float64]
    repeats: NDArray[np.float64]
    unit: str = "ms"
    call: float | None = None

    def take(self, rows: Sequence[int]) -> NetworkSamples:
        """Some of them."""
        index = [int(row) for row in rows]
        return NetworkSamples(
            tuple(self.ids[i] for i in index),
            tuple(self.spaces[i] for i in index),
            tuple(self.archs[i] for i in index),
            tuple(self.graphs[i] for i in index),
            self.cost[index],
            self.repeats[index],
            self.unit,
            self.call,
        )


def require_costs(networks: NetworkSamples) -> None:
    """Refuse networks that no model can learn from.

    Raises:
        InvalidTable: a cost is not positive and finite.
    """
    bad = np.flatnonzero(~(np.isfinite(networks.cost) & (networks.cost > 0)))
    if len(bad):
        raise InvalidTable(
            f"the cost of network {networks.ids[bad[0]]} is {networks.cost[bad[0]]} {networks.unit}; "
            "it must be above 0 and finite",
            hint="Measure that network again.",
        )


def networks(store: Store, conditions: Conditions, cost: str = "latency") -> NetworkSamples:
    """All networks whose cost was measured under conditions and whose kernels are known, in the order of their ids.

    Args:
        store: the measurements.
        conditions: of them.
        cost: `latency`, in the machine's best state; `energy`, net of what the device takes when idle; `memory`, the
            weights and what the runtime's allocator handed out at most.
    """
    values = _VALUES[cost](store, conditions)
    models = store.models()
    graphs = {model: store.fused(model, conditions) for model in sorted(values) if models[model].kernel is None}
    known = {model: graph for model, graph in graphs.items() if graph is not None}
    ids = tuple(known)
    return NetworkSamples(
        ids,
        tuple(models[model].space for model in ids),
        tuple(models[model].arch for model in ids),
        tuple(known.values()),
        np.array([values[model][0] for model in ids]),
        np.array([values[model][1] for model in ids]),
        UNITS[cost],
        _call_ms(store, conditions) if cost == "latency" else None,
    )


def _call_ms(store: Store, conditions: Conditions) -> float | None:
    found = empty_call_ms(store.process_facts(conditions), reference_ns(store, conditions))
    return None if isinstance(found, Unavailable) else found


#: What a kernel takes of which the runtime's clock tells nothing, such as counters of whole microseconds: no kernel
#: takes less, and beside a network it is nothing.
LEAST_MS = 1e-5


def kernels(
    store: Store, conditions: Conditions, models: Sequence[str] | None = None, *, cost: str = "latency"
) -> KernelSamples:
    """Costs of single kernels.

    Latency comes from the profiles of networks, in the state of the reference sentinel; what the runtime's profiler
    adds to each kernel is left in: that is the composition's business. Where there are none, because the runtime times
    no kernels in the graph, it comes from kernels that were measured alone, as energy does. Of memory there are none.

    Args:
        store: the measurements.
        conditions: of them.
        models: ids of the networks whose profiles, or whose kernels, count; all if None.
        cost: `latency`, `energy` or `memory`.

    Raises:
        InvalidData: the store has no sentinels of these conditions.
    """
    found: dict[Operator, list[float]] = defaultdict(list)
    kept: dict[Operator, list[float]] = {}
    streaming = Streaming()
    if cost == "latency":
        if store.profiles(conditions):
            streaming, kept = _profiled(store, conditions, models, found)
        else:
            _alone(store, conditions, models, found)
    elif cost == "energy":
        _energies(store, conditions, found)
    operators = tuple(sorted(found, key=lambda operator: operator.key))
    return KernelSamples(
        operators=operators,
        cost=np.array([float(np.median(found[operator])) for operator in operators]),
        weights=np.array([float(len(found[operator])) for operator in operators]),
        device=device_facts(store, conditions),
        unit=UNITS[cost],
        kept=np.array([float(np.median(kept[operator])) for operator in operators]) if kept else None,
        streaming=streaming,
    )


def _profiled(
    store: Store, conditions: Conditions, models: Sequence[str] | None, found: dict[Operator, list[float]]
) -> tuple[Streaming, dict[Operator, list[float]]]:
    """Fill in what kernels took; what networks take for weights from memory, and the costs without, if it is seen."""
    wanted = None if models is None else set(models)
    reference = reference_ns(store, conditions)
    rows: list[tuple[Operator, float, float]] = []
    read = cache(weights_of)
    for profile in store.profiles(conditions):
        if reference is None or (wanted is not None and profile.model not in wanted):
            continue
        graph = store.fused(profile.model, conditions)
        if graph is not None:
            whole = sum(map(read, graph.operators))
            for operator, ms in match(graph, profile.kernels):
                rows.append((operator, max(ms, LEAST_MS) * reference / profile.sentinel_ns, whole))
                found[operator].append(rows[-1][1])
    paces = np.array([(whole, read(one), ms) for one, ms, whole in rows if shows_pace(one)]).reshape(-1, 3)
    streaming = Streaming.fit(*paces.T)
    kept: dict[Operator, list[float]] = defaultdict(list)
    if streaming.ms_per_byte:
        costs = streaming.without(*np.array([(ms, read(one), whole) for one, ms, whole in rows]).T)
        for (operator, _, _), ms in zip(rows, costs, strict=True):
            kept[operator].append(float(ms))
    return streaming, kept


def _alone(
    store: Store, conditions: Conditions, models: Sequence[str] | None, found: dict[Operator, list[float]]
) -> None:
    graphs = [] if models is None else [store.fused(model, conditions) for model in models]
    wanted = {operator for graph in graphs if graph is not None for operator in graph.operators}
    for operator, latency in measured_kernels(store, conditions).items():
        if (models is None or operator in wanted) and latency.value_ms > 0:
            found[operator].append(latency.value_ms)


def _energies(store: Store, conditions: Conditions, found: dict[Operator, list[float]]) -> None:
    rows = store.models()
    for model, energies in store.energy(conditions).items():
        kernel = rows[model].kernel
        if kernel is not None:
            found[kernel].extend(net_mj / rows[model].copies for net_mj in energies)


def _latencies(store: Store, conditions: Conditions) -> dict[str, tuple[float, float]]:
    return {model: (found.value_ms, found.spread) for model, found in latencies(store, conditions).items()}


def _energy(store: Store, conditions: Conditions) -> dict[str, tuple[float, float]]:
    return {model: _repeated(np.array(net_mj)) for model, net_mj in store.energy(conditions).items()}


def _repeated(values: NDArray[np.float64]) -> tuple[float, float]:
    """The median of processes, and how far a repeat may be off, which has an error of its own."""
    centre = float(np.median(values))
    if len(values) < 2 or centre <= 0:
        return centre, 0.0
    from scipy.special import stdtrit

    error = values.std(ddof=1) / np.sqrt(len(values))
    return centre, float(stdtrit(len(values) - 1, 0.95) * np.sqrt(2.0) * error / centre)


def _bytes(store: Store, conditions: Conditions) -> dict[str, tuple[float, float]]:
    found = {}
    for profile in store.profiles(conditions):
        graph = store.fused(profile.model, conditions)
        if profile.allocator_peak_bytes and graph is not None:
            held = sum(tensor.bytes for tensor in weights(graph).values())
            found[profile.model] = (float(held + profile.allocator_peak_bytes), 0.0)
    return found


#: What is measured of a network under each cost, by the store's id: its value, and by how much a repeat may differ.
_VALUES: dict[str, Callable[[Store, Conditions], dict[str, tuple[float, float]]]] = {
    "latency": _latencies,
    "energy": _energy,
    "memory": _bytes,
}


def match(graph: OperatorGraph, profile: Sequence[Sequence[object]]) -> list[tuple[Operator, float]]:
    """Pair the kernels of a profile with the nodes of the fused graph, each with its time in ms.

    A runtime compiles a model anew for each session. Names of nodes that it adds may then differ, or be those of other
    nodes, but the order in which the kernels run stays. So where the operators agree one by one, they are paired by
    order; where they do not, by those names that both have once, for the same operator.
    """
    times = [(str(name), str(op_type), float(str(mean_ns)) / 1e6) for name, op_type, mean_ns, _ in profile]
    if [op_type for _, op_type, _ in times] == [node.operator.op_type for node in graph.nodes]:
        return [(node.operator, ms) for node, (_, _, ms) in zip(graph.nodes, times, strict=True)]
    named = Counter(node.name for node in graph.nodes)
    ran = Counter(name for name, _, _ in times)
    sure = {
        node.name: node.operator
        for node in graph.nodes
        if node.name and named[node.name] == ran[node.name] == 1 and not _MADE_UP.search(node.name)
    }
    return [(sure[name], ms) for name, op_type, ms in times if name in sure and sure[name].op_type == op_type]


#: Names that ONNX Runtime makes up anew for each session.
_MADE_UP = re.compile(r"_token_\d+$")


#: Work of sentinels that do not state it, in stores of before 2026-12: 12 products of 96x96, a copy of 8 MiB.
_WORK_BEFORE = {"gemm": {"operations": 2.0 * 12 * 96**3}, "memory": {"bytes": 2.0 * (8 << 20)}}


def device_facts(store: Store, conditions: Conditions) -> DeviceFacts:
    """Speed of light of the device, from the best sentinels its workers reported.

    Raises:
        InvalidData: no worker reported any.
    """
    states = [
        fact
        for fact in store.process_facts(conditions)
        if fact.get("event") == "state" and {"gemm_ns", "memory_ns"} <= fact.keys()
    ]
    if not states:
        raise InvalidData("the store has no sentinels of this device", hint="Profile some networks first.")
    work = next((state["work"] for state in reversed(states) if "work" in state), _WORK_BEFORE)
    gemm_ns = min(float(state["gemm_ns"]) for state in states)
    memory_ns = min(float(state["memory_ns"]) for state in states)
    return DeviceFacts(
        flops_per_s=float(work["gemm"]["operations"]) / gemm_ns * 1e9,
        bytes_per_s=float(work["memory"]["bytes"]) / memory_ns * 1e9,
    )
