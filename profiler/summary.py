"""Measurements out of a store: raw rows in, `Measurement` out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from device_profiles.conditions import Conditions
from device_profiles.facts import Unavailable
from profiler import meters, reference, statistics
from profiler.measurement import Failure, Latency, Measurement, Memory
from profiler.memory import planned_peak_bytes
from profiler.rows import BlockRow
from profiler.statistics import ProcessEstimate
from profiler.store import Store


def reference_ns(store: Store, conditions: Conditions) -> float | None:
    """The reference sentinel of what was measured under conditions; None if nothing was.

    The lower of what the store's own blocks show and what was known of the device when the last process began.
    """
    return _reference_ns(store.blocks(conditions), store, conditions)


def _reference_ns(rows: Sequence[BlockRow], store: Store, conditions: Conditions) -> float | None:
    if not rows:
        return None
    shown = reference.of_sentinels([row.sentinel_ns for row in rows])
    known = [
        float(fact["sentinel_ns"])
        for fact in store.process_facts(conditions)
        if fact.get("event") == "reference" and "sentinel_ns" in fact
    ]
    return min([shown, *known[-1:]])


def estimates(
    store: Store, conditions: Conditions, *, against_ns: float | None = None
) -> dict[str, dict[int, ProcessEstimate]]:
    """What each process says of each model, by the store's id and the process's number.

    Args:
        store: the measurements.
        conditions: of them.
        against_ns: the reference sentinel to express times in; the store's own if None.
    """
    rows = store.blocks(conditions)
    against = against_ns or _reference_ns(rows, store, conditions)
    return {} if against is None else statistics.by_process(rows, against)


def latencies(store: Store, conditions: Conditions, *, against_ns: float | None = None) -> dict[str, Latency]:
    """Latency of every model, kernels alone included, by the store's id; arguments as for `estimates`."""
    found = estimates(store, conditions, against_ns=against_ns)
    return {model: statistics.combine(list(processes.values())) for model, processes in found.items()}


def measurements(
    store: Store,
    conditions: Conditions,
    models: Sequence[str] | None = None,
    *,
    against_ns: float | None = None,
) -> tuple[Measurement, ...]:
    """Measurements under conditions, of all networks or of the models named, in their order."""
    against = against_ns or reference_ns(store, conditions)
    summarised = latencies(store, conditions, against_ns=against)
    rows = store.models()
    profiles = {profile.model: profile for profile in store.profiles(conditions)}
    peaks = store.memory(conditions)
    energies = store.energy(conditions)
    unmeasured = meters.load("none").available() or Unavailable("energy is not measured yet")
    found = []
    for model in models if models is not None else summarised:
        if model not in summarised or (models is None and rows[model].kernel is not None):
            continue
        latency, row, profile = summarised[model], rows[model], profiles.get(model)
        closure = None
        if against is not None and profile is not None and profile.kernels:
            kernels_ms = sum(mean_ns for _, _, mean_ns, _ in profile.kernels) / 1e6 * against / profile.sentinel_ns
            closure = kernels_ms / latency.value_ms - 1.0
        allocator = profile.allocator_peak_bytes if profile is not None else None
        graph = store.fused(model, conditions)
        process, reason = peaks.get(model, (None, "it was not measured"))
        found.append(
            Measurement(
                model=model,
                name=row.name,
                space=row.space,
                arch=row.arch,
                latency=latency,
                energy_mj=float(np.median(energies[model])) if model in energies else unmeasured,
                memory=Memory(
                    planned=planned_peak_bytes(graph) if graph else Unavailable("the fused graph is not known"),
                    allocator=allocator if allocator else Unavailable("the runtime's profiler reports none"),
                    process=process if process else Unavailable(reason or "unknown"),
                ),
                closure=closure,
            )
        )
    return tuple(found)


def failures(store: Store, conditions: Conditions, models: Sequence[str] | None = None) -> tuple[Failure, ...]:
    """What failed under conditions."""
    rows = store.models()
    return tuple(
        Failure(model, rows[model].name, rows[model].arch, kind, reason, hint)
        for model, (kind, reason, hint) in store.failures(conditions).items()
        if models is None or model in models
    )
