"""Campaigns: measure models in fresh processes until the intervals are narrow enough or the budget is spent.

A campaign goes on where it stopped: blocks that a killed one committed count, models that are known well enough are
left alone.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from device_profiles.conditions import Conditions
from device_profiles.errors import DeviceError, HwnasError, UsageError
from device_profiles.profile import Target, as_target, to_plain
from profiler import deviations, energies, events, meters, reference, transports
from profiler.agent.job import Candidate, Job, JobPlan, Metering
from profiler.conditions import conditions_of, worker_environment
from profiler.fusing import as_it_is
from profiler.lasting import lasting
from profiler.lock import device_lock, device_of
from profiler.measurement import Failure, Measurement
from profiler.meters.protocol import WINDOW_S
from profiler.operators import OperatorGraph
from profiler.outstanding import complete_processes, outstanding
from profiler.presence import present
from profiler.reader import LOAD_S, Reader
from profiler.records import ModelRow
from profiler.store import Store
from profiler.subjects import Subject, require_subjects
from profiler.summary import failures, latencies, measurements, reference_ns
from profiler.transports.protocol import DeviceFull, Transport
from profiler.travelling import Travelling
from profiler.trial import save_inputs

#: Models that one worker holds at once; more are measured in groups.
GROUP_SIZE = 64
#: Time that a worker needs besides its rounds: to start, and for each model to load, warm up, and profile.
START_S = 1.0
MODEL_S = 0.12
#: What a window of energy takes, idling included, over the window; and the share of a process's time that blocks get
#: where there are windows.
WINDOW_AND_IDLE, BLOCKS_SHARE = 1.8, 0.25
#: A model may take this share of the budget, if that is more than the reader's own patience, to load and run once.
LOAD_SHARE = 0.5


@dataclass(frozen=True)
class Budget:
    """When a campaign stops.

    Attributes:
        spread: relative half-width of the interval that is good enough, for every model.
        device_s: seconds of device time for this call, or None for 1 s a model and at least 20 s.
        min_processes: fresh processes of each model, at least 3 for an interval.
        max_processes: and at most.
        rounds: blocks of a model in one process, at most.
        profile_runs: inferences of each model under the runtime's profiler, in its first process; 0 for none.
        memory: whether to measure process memory, in the first process.
        windows: of the target's energy meter, of each model; one a process. They take what blocks leave of `device_s`,
            which is larger by them if it is None.
        window_s: a window lasts at least this long, between idling for four fifths as long.
    """

    spread: float = 0.02
    device_s: float | None = None
    min_processes: int = 3
    max_processes: int = 20
    rounds: int = 15
    profile_runs: int = 20
    memory: bool = True
    windows: int = 3
    window_s: float = WINDOW_S


@dataclass(frozen=True)
class Outcome:
    """What a campaign leaves: one entry for each subject, in their order, measured or failed."""

    measurements: tuple[Measurement, ...]
    failures: tuple[Failure, ...]


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
    transport = transports.of(target)  # and an option, too
    conditions = conditions_of(target)
    store.check(target.name, conditions)
    unique: dict[str, Subject] = {}
    for subject in subjects:
        unique.setdefault(subject.id, subject)
    with ExitStack() as stack:
        stack.enter_context(device_lock(device_of(target, store), wait=wait))
        stack.enter_context(transport.held(wait=wait))
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
        campaign = _Campaign(target, transport, store, conditions, budget or Budget(), seed, listener)
        campaign.run({name: unique[name] for name in accepted}, compiled)
    enough = campaign.budget.min_processes
    found = measurements(store, conditions, list(accepted), min_processes=enough)
    failed = failures(store, conditions, list(accepted), min_processes=enough)
    return Outcome(*_one_each(subjects, found, (*refused, *failed)))


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
    compiled.convert([one for one in subjects.values() if store.fused(one.id, conditions) is None], listener)
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
        accepted[subject.id] = graph
    return accepted, tuple(refused)


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


def hardware_of(target: Target) -> dict[str, Any]:
    """Values of the target's hardware facts."""
    return {name: fact.value for name, fact in target.hardware.items()}


class _Campaign:
    """The state of one call of `measure`."""

    def __init__(
        self,
        target: Target,
        transport: Transport,
        store: Store,
        conditions: Conditions,
        budget: Budget,
        seed: int,
        listener: events.Listener,
    ) -> None:
        self.target = target
        self.store = store
        self.conditions = conditions
        self.budget = budget
        self.seed = seed
        self.listener = listener
        self.invocation = ""
        self.spent_s = 0.0
        self.processes = 0
        self.inputs: dict[str, tuple[str, ...]] = {}
        self.compared: dict[str, dict[str, Any]] = {}
        self.files: dict[str, str] = {}
        self.empty = ""
        self.limit_s = 0.0
        windows = 0 if target.energy == meters.NONE else budget.windows
        self.metered = energies.Wanted(windows, store.metered(conditions) if windows else {})
        self.transport = transport

    def run(self, subjects: dict[str, Subject], compiled: Travelling) -> None:
        pending = self._pending(subjects)
        limit = self.budget.device_s
        if limit is None:
            windows = sum(self.metered.most([name]) for name in pending)
            limit = max(20.0, 1.0 * len(pending)) + windows * WINDOW_AND_IDLE * self.budget.window_s
        self.limit_s = limit
        self.listener(events.CampaignStarted(len(subjects), len(subjects) - len(pending), limit))
        if not pending:
            return
        with present(self.store, "campaign", self.conditions.id) as self.invocation:
            self._measure(subjects, pending, compiled, limit)

    def _measure(self, subjects: dict[str, Subject], pending: list[str], compiled: Travelling, limit: float) -> None:
        """Worker after worker, until nothing is pending or the budget is spent."""
        folder = compiled.folder
        compiled.convert([subjects[name] for name in pending], self.listener)
        self.empty = compiled.empty()
        known = deviations.compared(self.store.process_facts(self.conditions))
        for name in pending:
            subject = subjects[name]
            self.files[name] = compiled.file(subject).name
            if subject.inputs is not None:
                save_inputs(folder / f"{name}.npz", subject.inputs)
                self.inputs[name] = tuple(subject.inputs)
            self.compared[name] = deviations.asked(subject, self.target, folder, known)
        while pending:
            groups = [pending[i : i + GROUP_SIZE] for i in range(0, len(pending), GROUP_SIZE)]
            for group in groups:
                before = self._progress()
                try:
                    work = partial(self._process, folder, group, *self._seconds(limit, group, len(groups)))
                    lasting(work, before, self._progress, self.transport, self.target, self.conditions, self.listener)
                except DeviceFull as error:  # what is smaller may still fit
                    for name in group:
                        self._fail(name, type(error).__name__, error.message, error.hint)
                if self._progress() == before:
                    raise DeviceError(
                        f"a worker ended without measuring any of {len(group)} models",
                        hint="Give more --budget, or measure fewer or smaller models at once.",
                    )
            pending = self._pending(subjects)
            if self.spent_s >= limit and min(self._counts(pending).values(), default=0) >= self.budget.min_processes:
                return

    def _seconds(self, limit: float, group: list[str], groups: int) -> tuple[float, float]:
        """Time for the rounds of a process, and for all of it: those still wanted share what is left of the budget."""
        counts, windows = self._counts(group), self.metered.most(group)
        wanted = max(self.budget.min_processes - min(counts.values()), windows, 1)
        share = max(limit - self.spent_s, 0.0) / (wanted * groups)
        rounds = (BLOCKS_SHARE if windows else 1.0) * share
        return max(rounds - START_S - MODEL_S * len(group), 0.5), share

    def _process(self, folder: Path, group: list[str], seconds: float, share_s: float) -> None:
        """One fresh worker over a group of models."""
        metered = self.metered.first(group)
        group = metered + [name for name in group if name not in set(metered)]
        alone = {name for name, row in self.store.models(group).items() if row.kernel is not None}
        profiled = alone | {profile.model for profile in self.store.profiles(self.conditions)}
        weighed = alone | self.store.memory(self.conditions).keys()
        candidates = tuple(
            Candidate(
                id=name,
                file=self.files[name],
                profile_runs=0 if name in profiled else self.budget.profile_runs,
                memory=self.budget.memory and name not in weighed,
                optimisation=as_it_is(self.target).runtime.optimisation if name in alone else None,
                inputs=f"{name}.npz" if name in self.inputs else "",
                input_names=self.inputs.get(name, ()),
                energy=name in metered,
                **self.compared.pop(name, {}),  # by the first process
            )
            for name in group
        )
        remembered = reference.remembered_ns(self.conditions)
        job = self._job(candidates, seconds, remembered, share_s if metered else None)
        job.write(folder / "job.json")
        self.processes += 1
        self.listener(events.ProcessStarted(self.processes, len(group)))
        process = self.store.start_process(self.conditions, self.invocation, job.plan.seed)
        facts = [] if remembered is None else [{"event": "reference", "sentinel_ns": remembered}]
        reader = Reader(
            self.store,
            process,
            job,
            fail=self._fail,
            listener=self.listener,
            spent_s=self.spent_s,
            facts=facts,
            metered=self.metered,
            load_s=max(LOAD_S, LOAD_SHARE * self.limit_s),
        )
        environment = worker_environment(self.target, self.processes)
        try:
            reader.run(self.transport, folder, environment)
        finally:
            self.spent_s = reader.spent_s
            reference.remember(self.conditions, reader.sentinels_ns)
        summary = latencies(self.store, self.conditions)
        widest = max((summary[name].spread for name in group if name in summary), default=0.0)
        self.listener(events.ProcessFinished(self.processes, widest))

    def _job(
        self, candidates: tuple[Candidate, ...], seconds: float, remembered: float | None, share_s: float | None
    ) -> Job:
        known = [value for value in (remembered, reference_ns(self.store, self.conditions)) if value is not None]
        target, runtime, budget = self.target, self.target.runtime, self.budget
        return Job(
            nonce=uuid.uuid4().hex,
            runtime=runtime.name,
            candidates=candidates,
            plan=JobPlan(
                seed=self.seed + self.processes,
                rounds=budget.rounds,
                seconds=seconds,
                reference_ns=min(known, default=None),
            ),
            threads=runtime.threads,
            precision=runtime.precision,
            optimisation=runtime.optimisation,
            options=dict(runtime.options),
            affinity=self.conditions.own.affinity,
            empty=self.empty,
            metering=None
            if share_s is None
            else Metering(target.energy, budget.window_s, share_s, hardware_of(target)),
        )

    def _pending(self, subjects: dict[str, Subject]) -> list[str]:
        """Models without enough processes, or with too wide an interval and processes left to spend."""
        names = list(subjects)
        blocks = outstanding(self.store, self.conditions, names, self.budget, least_blocks=self._least_blocks)
        if (self.limit_s and self.spent_s >= self.limit_s) or not self.metered.most(names):
            return blocks
        failed = self.store.failures(self.conditions)
        return blocks + [name for name in self.metered.first(names) if name not in failed and name not in set(blocks)]

    def _progress(self) -> tuple[int, int]:
        """What a worker must raise: blocks taken, or models that failed."""
        return self.store.progress(self.conditions)

    def _counts(self, names: list[str]) -> dict[str, int]:
        """Processes that took at least the least number of blocks of each model."""
        return complete_processes(self.store, self.conditions, names, least_blocks=self._least_blocks)

    @property
    def _least_blocks(self) -> int:
        return min(JobPlan().min_rounds, self.budget.rounds)

    def _fail(self, model: str, kind: str, reason: str, hint: str) -> None:
        self.store.add_failure(model, self.conditions, kind=kind, reason=reason, hint=hint)
        self.listener(events.ModelFailed(model, self.store.models([model])[model].name, reason))
