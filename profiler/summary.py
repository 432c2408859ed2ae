"""Measurements out of a store: raw rows in, `Measurement` out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from device_profiles.conditions import Conditions, Gpu
from device_profiles.facts import Unavailable
from profiler import closures, deviations, energies, reference, statistics
from profiler.agent.job import JobPlan
from profiler.measurement import Failure, Latency, Measurement, Memory
from profiler.memory import planned_peak_bytes
from profiler.records import BlockRow
from profiler.statistics import ProcessEstimate
from profiler.store import Store
from profiler.subjects import batch_of

#: What a card under load is usually slowed down by: told, and no disturbance.
_USUAL = frozenset({"power cap"})
#: Fresh processes that a model needs to count as measured although it failed later.
ENOUGH_PROCESSES = 3


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
    """What each process says of each model that counts as measured, by the store's id and the process's number.

    Args:
        store: the measurements.
        conditions: of them.
        against_ns: the reference sentinel to express times in; the store's own if None.
    """
    return settled(store, conditions, against_ns=against_ns).processes


def latencies(store: Store, conditions: Conditions, *, against_ns: float | None = None) -> dict[str, Latency]:
    """Latency of every model, kernels alone included, by the store's id; arguments as for `estimates`."""
    return settled(store, conditions, against_ns=against_ns).latencies


@dataclass(frozen=True)
class Settled:
    """What is known of the models under conditions, by the store's id; no model is in both.

    Attributes:
        processes: what each process says of what was measured, kernels alone included.
        failures: kind, reason and hint of what could not be measured.
        reference_ns: what times are expressed in; None if nothing was measured.
        throttled: models in too many of whose blocks the device said that something slowed it down.
    """

    processes: dict[str, dict[int, ProcessEstimate]]
    failures: dict[str, tuple[str, str, str]]
    reference_ns: float | None
    throttled: frozenset[str] = frozenset()

    @cached_property
    def latencies(self) -> dict[str, Latency]:
        """Of what was measured."""
        found = {model: statistics.combine(list(processes.values())) for model, processes in self.processes.items()}
        for model in self.throttled & found.keys():
            known = found[model]
            found[model] = replace(known, state="degraded", causes=(*known.causes, "throttled"))
        return found


def settled(
    store: Store, conditions: Conditions, *, against_ns: float | None = None, min_processes: int = ENOUGH_PROCESSES
) -> Settled:
    """Decide for each model whether it was measured or failed.

    A model may have been measured for a while and then fail. Enough whole processes are a measurement all the same, and
    the failure is not told; with fewer it failed, and what there is of it is no measurement.

    Args:
        store: the measurements.
        conditions: of them.
        against_ns: the reference sentinel to express times in; the store's own if None.
        min_processes: fresh processes that are enough for a model that failed later.
    """
    rows = store.blocks(conditions)
    against = against_ns or _reference_ns(rows, store, conditions)
    processes = {} if against is None else statistics.by_process(rows, against)
    failed = store.failures(conditions)
    enough = {name: each for name, each in processes.items() if name not in failed or _whole(each) >= min_processes}
    left = {name: failure for name, failure in failed.items() if name not in enough}
    return Settled(enough, left, against, _throttled(store, conditions))


def _throttled(store: Store, conditions: Conditions) -> frozenset[str]:
    """Models of which more than `statistics.LOWER` of the blocks were slowed down, as a GPU says after each."""
    if not isinstance(conditions.own, Gpu):
        return frozenset()
    seen: dict[str, list[bool]] = {}
    for fact in store.process_facts(conditions):
        if fact.get("event") == "clocks":
            seen.setdefault(str(fact["id"]), []).append(bool(set(fact["slowed_by"] or ()) - _USUAL))
    return frozenset(model for model, slowed in seen.items() if sum(slowed) > statistics.LOWER * len(slowed))


def _whole(processes: Mapping[int, ProcessEstimate]) -> int:
    """Processes that took as many blocks as a process takes at least: others ended with the model in hand."""
    return sum(one.blocks >= JobPlan().min_rounds for one in processes.values())


def empty_call_ms(facts: Iterable[Mapping[str, Any]], against_ns: float | None) -> float | Unavailable:
    """What an empty call costs, from what all processes said, in the state of the reference sentinel."""
    times = [
        fact["ns"] / fact["sentinel_ns"] for fact in facts if fact.get("event") == "call" and fact.get("sentinel_ns")
    ]
    if not times or against_ns is None:
        return Unavailable("the runtime has no empty call, or none was timed")
    return float(np.median(times)) * against_ns / 1e6


def measurements(
    store: Store,
    conditions: Conditions,
    models: Sequence[str] | None = None,
    *,
    against_ns: float | None = None,
    min_processes: int = ENOUGH_PROCESSES,
) -> tuple[Measurement, ...]:
    """Measurements under conditions, of all networks or of the models named, in their order; see `settled`."""
    known = settled(store, conditions, against_ns=against_ns, min_processes=min_processes)
    rows = store.models()
    wanted = [
        model
        for model in (known.latencies if models is None else models)
        if model in known.latencies and (models is not None or rows[model].kernel is None)
    ]
    graphs = store.fused_graphs(conditions, wanted)
    profiles = {profile.model: profile for profile in store.profiles(conditions)}
    peaks = store.memory(conditions)
    facts = store.process_facts(conditions)
    metered, unmetered = energies.of_store(store, conditions, facts), energies.missing(facts)
    call_ms = empty_call_ms(facts, known.reference_ns)
    apart = deviations.of_facts(facts) if deviations.compared_in(conditions) else {}
    found = []
    for model in wanted:
        latency, row, profile = known.latencies[model], rows[model], profiles.get(model)
        closure, explained = None, None
        if known.reference_ns is not None and profile is not None and profile.kernels:
            kernels_ms = sum(mean_ns for _, _, mean_ns, _ in profile.kernels) / 1e6
            kernels_ms *= known.reference_ns / profile.sentinel_ns
            call = 0.0 if isinstance(call_ms, Unavailable) else call_ms
            closure = (kernels_ms + call) / latency.value_ms - 1.0
            scale = known.reference_ns / profile.sentinel_ns
            run_ms = None if profile.run_ns is None else profile.run_ns / 1e6 * scale
            explained = closures.explain(closure, [kernel[1] for kernel in profile.kernels], latency.value_ms, run_ms)
        allocator = profile.allocator_peak_bytes if profile is not None else None
        graph = graphs.get(model)
        process, reason = peaks.get(model, (None, "it was not measured"))
        found.append(
            Measurement(
                model=model,
                name=row.name,
                space=row.space,
                arch=row.arch,
                latency=latency,
                energy_mj=metered.get(model, unmetered),
                memory=Memory(
                    planned=planned_peak_bytes(graph) if graph else Unavailable("the fused graph is not known"),
                    allocator=allocator if allocator else Unavailable("the runtime's profiler reports none"),
                    process=process if process else Unavailable(reason or "unknown"),
                ),
                closure=closure,
                closure_note=explained,
                batch=batch_of(graph) if graph else None,
                call_ms=call_ms,
                deviation=apart.get(model),
            )
        )
    return tuple(found)


def failures(
    store: Store,
    conditions: Conditions,
    models: Sequence[str] | None = None,
    *,
    min_processes: int = ENOUGH_PROCESSES,
) -> tuple[Failure, ...]:
    """What could not be measured under conditions; see `settled`."""
    failed = settled(store, conditions, min_processes=min_processes).failures
    asked = None if models is None else set(models)
    rows = store.models() if failed else {}
    return tuple(
        Failure(model, rows[model].name, rows[model].arch, kind, reason, hint)
        for model, (kind, reason, hint) in failed.items()
        if asked is None or model in asked
    )
