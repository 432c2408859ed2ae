"""Measurements out of a store: raw rows in, `Measurement` out."""

from __future__ import annotations

from collections.abc import Sequence

from device_profiles.conditions import Conditions
from device_profiles.facts import Unavailable
from profiler import meters, statistics
from profiler.measurement import Failure, Measurement, Memory
from profiler.memory import planned_peak_bytes
from profiler.store import Store


def measurements(store: Store, conditions: Conditions, models: Sequence[str] | None = None) -> tuple[Measurement, ...]:
    """Measurements under conditions, of all networks or of the models named, in their order."""
    latencies = statistics.summarise(store.blocks(conditions))
    rows = store.models()
    profiles = {model: (kernels, peak) for model, kernels, peak in store.profiles(conditions)}
    peaks = store.memory(conditions)
    energy = meters.load("none").available() or Unavailable("energy is not measured yet")
    found = []
    for model in models if models is not None else latencies:
        if model not in latencies or (models is None and rows[model].kernel is not None):
            continue
        latency, row = latencies[model], rows[model]
        kernels, allocator = profiles.get(model, (None, None))
        closure = None
        if kernels:
            closure = sum(mean_ns for _, _, mean_ns, _ in kernels) / 1e6 / latency.typical_ms - 1.0
        graph = store.fused(model, conditions)
        process, reason = peaks.get(model, (None, "it was not measured"))
        found.append(
            Measurement(
                model=model,
                name=row.name,
                space=row.space,
                arch=row.arch,
                latency=latency,
                energy_mj=energy,
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
