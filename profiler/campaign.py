"""Campaigns: measure models in fresh processes until the intervals are narrow enough or the budget is spent.

A campaign goes on where it stopped: blocks that a killed one committed count, models that are known well enough are
left alone.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from device_profiles.conditions import Conditions
from device_profiles.errors import HwnasError, UsageError, fault_of
from device_profiles.profile import Target, as_target, to_plain
from profiler import events, fleet, meters, runtimes, transports
from profiler.budget import Budget
from profiler.fleet import Device
from profiler.measurement import Failure, Measurement
from profiler.neighbours import Since
from profiler.operators import OperatorGraph
from profiler.records import ModelRow
from profiler.store import Store
from profiler.subjects import Subject, require_subjects
from profiler.summary import failures, measurements
from profiler.travelling import Travelling
from profiler.workers import Workers, hardware_of

__all__ = ["Budget", "Outcome", "measure"]


@dataclass(frozen=True)
class Outcome:
    """What a campaign leaves.

    Attributes:
        measurements: one for each subject, in their order, that did not fail.
        failures: and for each that did.
        devices: of a fleet, side by side; of one device none.
        others_cpus: CPUs that other programs used on average while this machine measured itself; None on other devices,
            on simulated ones, and where it took less than a second.
        device_s: device time that this call took; two calls with one result are equal all the same.
        budget_s: and that it was given, or gave itself.
    """

    measurements: tuple[Measurement, ...]
    failures: tuple[Failure, ...]
    devices: tuple[Device, ...] = ()
    others_cpus: float | None = None
    device_s: float = field(default=0.0, compare=False)
    budget_s: float = field(default=0.0, compare=False)


def measure(
    subjects: Sequence[Subject],
    *,
    target: Target | str | Path,
    store: Store,
    budget: Budget | None = None,
    seed: int = 0,
    listener: events.Listener = events.silent,
    retry: bool = False,
    wait: bool = False,
) -> Outcome:
    """Measure models on a target.

    Args:
        subjects: what to measure; equal ids are measured once, and each subject has an entry.
        target: where and how; or its name, or the path of its profile.
        store: where the blocks go.
        budget: when to stop.
        seed: of the order of the rounds.
        listener: told what happens, for progress.
        retry: try again what failed for good, too; what may have passed by itself is always tried again.
        wait: until others have finished measuring on the device, in place of `DeviceBusy`.

    Returns:
        Measurements and failures of the subjects. Interruption leaves everything committed.

    Raises:
        ConditionMismatch: the store holds this target under other conditions.
        DeviceBusy: another process measures on the device.
        DeviceError: the device or its runtime is missing, or its agent failed repeatedly.
        UsageError: something is no subject, or no target has the name.
    """
    target = as_target(target)
    require_subjects(subjects)
    meters.load(target.energy, hardware_of(target))  # a meter that nobody has is found before anything is measured
    unique: dict[str, Subject] = {}
    for subject in subjects:
        unique.setdefault(subject.id, subject)
    with ExitStack() as stack:
        members, left, conditions = stack.enter_context(fleet.held(target, store, listener, wait=wait, retry=retry))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hwnas-job-"))
        compiled = Travelling(target, Path(folder))
        accepted, refused = _compile(unique, compiled, store, conditions, listener)
        for failure in refused:
            listener(events.ModelFailed(failure.model, failure.name, failure.reason))
        if not accepted:
            return Outcome(*_one_each(subjects, (), refused))
        store.bind(target.name, json.dumps(to_plain(target), sort_keys=True), conditions)
        for name, graph in accepted.items():
            subject = unique[name]
            row = ModelRow(subject.id, subject.name, subject.space, subject.arch, subject.kernel, subject.copies)
            store.add_model(row, subject.graph)
            store.add_fused(subject.id, conditions, graph)
        store.forget_failures(conditions, accepted, only_transient=not retry)
        limits = budget or Budget()
        workers = Workers(target, members, left, store, conditions, limits, seed, listener)
        before = Since.now()
        workers.run({name: unique[name] for name in accepted}, compiled)
        others = before.others_cpus() if _measures_itself(target) else None
    enough = limits.min_processes
    found = measurements(store, conditions, list(accepted), min_processes=enough)
    failed = failures(store, conditions, list(accepted), min_processes=enough)
    devices = fleet.told(store, conditions, target, left) if target.access.fleet else ()
    return Outcome(*_one_each(subjects, found, (*refused, *failed)), devices, others, workers.spent_s, workers.limit_s)


def _measures_itself(target: Target) -> bool:
    """Whether it is this machine that is measured."""
    return transports.elsewhere(target) is None and not runtimes.REGISTRY.get(target.runtime.name).traits.simulated


def _compile(
    subjects: dict[str, Subject],
    compiled: Travelling,
    store: Store,
    conditions: Conditions,
    listener: events.Listener,
) -> tuple[dict[str, OperatorGraph], tuple[Failure, ...]]:
    """Fused graphs of what the runtime takes, by id, and failures of what it refuses; the store is not changed."""
    accepted: dict[str, OperatorGraph] = {}
    refused = []
    store.fused_graphs(conditions, subjects)  # all at once, into its memory
    unknown = [one for one in subjects.values() if store.fused(one.id, conditions) is None]
    compiled.convert(unknown, listener)
    compiled.compile(unknown, listener)
    for subject in subjects.values():
        graph = store.fused(subject.id, conditions)
        if graph is None:
            try:
                graph = compiled.graph(subject)
            except UsageError:  # the target asks for what its runtime does not have
                raise
            except HwnasError as error:
                kind = type(error).__name__
                refused.append(Failure(subject.id, subject.name, subject.arch, kind, error.message, error.hint))
                continue
            except Exception as error:  # whatever is at fault, ours or a runtime's, costs this model alone
                refused.append(Failure(subject.id, subject.name, subject.arch, "InternalError", *_fault(error)))
                continue
        accepted[subject.id] = graph
    return accepted, tuple(refused)


def _fault(error: Exception) -> tuple[str, str]:
    """What went wrong and where, and what to do."""
    words = " ".join(str(error).split())[:300]
    return fault_of(error, words), "Please report it with the model, or measure it with another runtime."


def _one_each(
    subjects: Sequence[Subject], measured: Sequence[Measurement], failed: Sequence[Failure]
) -> tuple[tuple[Measurement, ...], tuple[Failure, ...]]:
    """One entry for each subject under its own name; equal models share a measurement, and the answer says so."""
    by_model = {one.model: one for one in measured}
    why = {one.model: one for one in failed}
    found: dict[tuple[str, str], Measurement | Failure] = {}
    first: dict[str, str] = {}
    for subject in subjects:
        known = by_model.get(subject.id) or why.get(subject.id)
        key = (subject.id, subject.arch or subject.name)
        if known is None or key in found:
            continue
        named = replace(known, name=subject.name, arch=subject.arch)
        if isinstance(named, Measurement) and subject.id in first:
            named = replace(named, same_as=first[subject.id])
        first.setdefault(subject.id, subject.arch or subject.name)
        found[key] = named
    return (
        tuple(one for one in found.values() if isinstance(one, Measurement)),
        tuple(one for one in found.values() if isinstance(one, Failure)),
    )
