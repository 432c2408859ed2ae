"""What a predictor learns from: measured networks and the kernels inside them, out of a store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.conditions import Conditions
from device_profiles.errors import InvalidData
from predictors.models.protocol import DeviceFacts, KernelSamples
from profiler.agent.sentinel import GEMM_PRODUCTS, GEMM_SIZE, MEMORY_BYTES
from profiler.operators import Operator, OperatorGraph
from profiler.store import Store
from profiler.summary import estimates, reference_ns


@dataclass(frozen=True)
class NetworkSamples:
    """Measured networks.

    Attributes:
        ids: the store's ids.
        spaces: spec of each one's space, or None.
        archs: text form of each in its space, or None.
        graphs: fused graphs.
        ms: `(n,)`, measured latency in the machine's best state.
        noise: `(n,)`, relative standard error of each value, from its processes.
    """

    ids: tuple[str, ...]
    spaces: tuple[str | None, ...]
    archs: tuple[str | None, ...]
    graphs: tuple[OperatorGraph, ...]
    ms: NDArray[np.float64]
    noise: NDArray[np.float64]

    def take(self, rows: Sequence[int]) -> NetworkSamples:
        """Some of them."""
        index = [int(row) for row in rows]
        return NetworkSamples(
            tuple(self.ids[i] for i in index),
            tuple(self.spaces[i] for i in index),
            tuple(self.archs[i] for i in index),
            tuple(self.graphs[i] for i in index),
            self.ms[index],
            self.noise[index],
        )


def networks(store: Store, conditions: Conditions) -> NetworkSamples:
    """All networks measured under conditions whose kernels are known, in the order of their ids."""
    found = estimates(store, conditions)
    models = store.models()
    ids, graphs, ms, noise = [], [], [], []
    for model in sorted(found):
        graph = store.fused(model, conditions)
        if graph is None or models[model].kernel is not None:
            continue
        values = np.array([process.best_ns for process in found[model].values()])
        ids.append(model)
        graphs.append(graph)
        ms.append(float(np.median(values)) / 1e6)
        noise.append(float(values.std(ddof=1) / values.mean() / np.sqrt(len(values))) if len(values) > 1 else np.nan)
    return NetworkSamples(
        tuple(ids),
        tuple(models[model].space for model in ids),
        tuple(models[model].arch for model in ids),
        tuple(graphs),
        np.array(ms),
        np.array(noise),
    )


def kernels(store: Store, conditions: Conditions, models: Sequence[str] | None = None) -> KernelSamples:
    """Kernel times from the profiles of networks, all or those named, in the state of the reference sentinel.

    What the runtime's profiler adds to each kernel is left in: that is the composition's business.

    Raises:
        InvalidData: the store has no sentinels of these conditions.
    """
    found: dict[Operator, list[float]] = defaultdict(list)
    wanted = None if models is None else set(models)
    reference = reference_ns(store, conditions)
    for profile in store.profiles(conditions):
        if reference is None or (wanted is not None and profile.model not in wanted):
            continue
        graph = store.fused(profile.model, conditions)
        if graph is not None:
            for operator, ms in match(graph, profile.kernels):
                found[operator].append(ms * reference / profile.sentinel_ns)
    operators = tuple(sorted(found, key=lambda operator: operator.key))
    return KernelSamples(
        operators=operators,
        ms=np.array([float(np.median(found[operator])) for operator in operators]),
        weights=np.array([float(len(found[operator])) for operator in operators]),
        device=device_facts(store, conditions),
    )


def match(graph: OperatorGraph, profile: Sequence[Sequence[object]]) -> list[tuple[Operator, float]]:
    """Pair the kernels of a profile with the nodes of the fused graph.

    By name, and by order where names do not tell.
    """
    by_name: dict[str, Operator] = {}
    ambiguous: set[str] = set()
    by_type: dict[str, list[Operator]] = defaultdict(list)
    for node in graph.nodes:
        if node.name in by_name:
            ambiguous.add(node.name)
        by_name[node.name] = node.operator
        by_type[node.operator.op_type].append(node.operator)
    pairs = []
    seen: dict[str, int] = defaultdict(int)
    for name, op_type, mean_ns, _runs in profile:
        kind = str(op_type)
        position = seen[kind]
        seen[kind] += 1
        operator = by_name.get(str(name)) if str(name) not in ambiguous else None
        if operator is None and position < len(by_type[kind]):
            operator = by_type[kind][position]
        if operator is not None:
            pairs.append((operator, float(str(mean_ns)) / 1e6))
    return pairs


def device_facts(store: Store, conditions: Conditions) -> DeviceFacts:
    """Speed of light of the device, from the best sentinels its workers reported.

    Raises:
        InvalidData: no worker reported any.
    """
    states = [fact for fact in store.process_facts(conditions) if fact.get("event") == "state"]
    if not states:
        raise InvalidData("the store has no sentinels of this device", hint="Profile some networks first.")
    gemm_ns = min(float(state["gemm_ns"]) for state in states)
    memory_ns = min(float(state["memory_ns"]) for state in states)
    flops = 2.0 * GEMM_PRODUCTS * GEMM_SIZE**3
    return DeviceFacts(flops_per_s=flops / gemm_ns * 1e9, bytes_per_s=2.0 * MEMORY_BYTES / memory_ns * 1e9)
