"""The workers of a campaign: fresh processes, one after another on each of its devices, until nothing is pending."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from device_profiles.conditions import Conditions
from device_profiles.errors import ConditionMismatch, DeviceError
from device_profiles.profile import Target
from profiler import deviations, energies, events, fleet, meters, reference
from profiler.agent.job import Candidate, Job, JobPlan, Metering
from profiler.budget import Budget
from profiler.conditions import worker_environment
from profiler.database import StoreBusy, StoreFull
from profiler.fleet import Member
from profiler.fusing import as_it_is
from profiler.lasting import lasting
from profiler.outstanding import complete_processes, outstanding
from profiler.presence import present
from profiler.reader import LOAD_S, Reader
from profiler.store import Store
from profiler.subjects import Subject
from profiler.summary import latencies, reference_ns
from profiler.transports.protocol import DeviceFull
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


def hardware_of(target: Target) -> dict[str, Any]:
    """Values of the target's hardware facts."""
    return {name: fact.value for name, fact in target.hardware.items()}


class Workers:
    """The state of one call of `profiler.campaign.measure`.

    Args:
        target: of the campaign.
        members: its devices, that are held; those that drop out are taken away.
        left: why devices take no part, by address; those that drop out are added.
        store: where the blocks go.
        conditions: of all devices.
        budget: when to stop.
        seed: of the order of the rounds.
        listener: told what happens.
    """

    def __init__(
        self,
        target: Target,
        members: list[Member],
        left: dict[str, str],
        store: Store,
        conditions: Conditions,
        budget: Budget,
        seed: int,
        listener: events.Listener,
    ) -> None:
        self.target = target
        self.members, self.left = members, left
        self.store = store
        self.conditions = conditions
        self.budget = budget
        self.seed = seed
        self.listener = listener
        self.invocation = ""
        self.spent_s = 0.0
        self.before = store.processes_started(conditions)
        self.processes = self.turns = 0
        self.inputs: dict[str, tuple[str, ...]] = {}
        self.compared: dict[str, dict[str, Any]] = {}
        self.files: dict[str, str] = {}
        self.empty = ""
        self.limit_s = 0.0
        windows = 0 if target.energy == meters.NONE else budget.windows
        self.metered = energies.Wanted(windows, store.metered(conditions) if windows else {})
        self.one_at_a_time = threading.RLock()
        self.ended = self.doubted = False

    def run(self, subjects: dict[str, Subject], compiled: Travelling) -> None:
        """Measure what is pending of the subjects, by id."""
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
            self._measure(subjects, pending, compiled)

    def _measure(self, subjects: dict[str, Subject], pending: list[str], compiled: Travelling) -> None:
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
            self._spread(folder, pending)
            self.turns += 1
            pending = self._pending(subjects) or self._again(subjects)
            enough = min(self._counts(pending).values(), default=0) >= self.budget.min_processes
            if self.spent_s >= self.limit_s and enough and not self.doubted:
                return

    def _spread(self, folder: Path, pending: list[str]) -> None:
        """A worker for each group of models; of a fleet for each device, if it wants as many, each in its turn."""
        groups = [pending[i : i + GROUP_SIZE] for i in range(0, len(pending), GROUP_SIZE)]
        members = list(self.members)
        if not self._is_fleet:
            self._attend(members[0], folder, groups, len(groups))
            return
        wanted = max(self.budget.min_processes - min(self._counts(pending).values()), 1)
        if self.doubted:
            wanted = len(members)
        tasks = groups * max(1, min(len(members) // len(groups), wanted))
        shares: list[list[list[str]]] = [[] for _ in members]
        for number, group in enumerate(tasks):
            shares[(number + self.turns) % len(members)].append(group)
        _side_by_side(
            [
                partial(self._attend_or_leave, member, self._place(folder, member), share, len(groups))
                for member, share in zip(members, shares, strict=True)
                if share
            ],
            self.store,
            partial(self._end, members),
        )
        self.doubted = False
        if len(self.members) > 1:
            working = [member.address for member in self.members]
            aside, self.doubted = fleet.judge(self.store, self.conditions, working)
            for address, reason in aside.items():
                self._leave(address, reason)

    def _end(self, members: Sequence[Member]) -> None:
        """No device begins anything more."""
        self.ended = True
        for member in members:
            member.transport.drop()

    def _place(self, folder: Path, member: Member) -> Path:
        """A folder for the jobs of a device, with all that they may name."""
        place = folder / f"device-{hashlib.sha256(member.address.encode()).hexdigest()[:16]}"
        place.mkdir(exist_ok=True)
        for path in folder.iterdir():
            if path.is_file() and not (place / path.name).exists():
                (place / path.name).symlink_to(path)
        return place

    def _attend_or_leave(self, member: Member, place: Path, groups: Sequence[list[str]], of: int) -> None:
        """Like `_attend`; a device that fails drops out, unless it is the last one."""
        try:
            self._attend(member, place, groups, of)
        except (StoreFull, StoreBusy):  # no device is to blame
            raise
        except (DeviceError, ConditionMismatch) as error:
            with self.one_at_a_time:
                if len(self.members) == 1:
                    raise
                self._leave(member.address, error.message)

    def _leave(self, address: str, reason: str) -> None:
        self.left[address] = reason
        self.members[:] = [member for member in self.members if member.address != address]
        self.listener(events.DeviceLeft(address, reason))

    def _attend(self, member: Member, folder: Path, groups: Sequence[list[str]], of: int) -> None:
        """Workers of a device, one for each of these groups of models.

        Args:
            member: the device.
            folder: with what its jobs name.
            groups: ids of models.
            of: groups that all pending models are in.

        Raises:
            DeviceError: a worker measured nothing.
        """
        for group in groups:
            before = member.taken
            try:
                with self.one_at_a_time:
                    work = partial(self._process, member, folder, group, *self._seconds(group, of))
                progress: Callable[[], int] = lambda: member.taken  # noqa: E731
                lasting(work, before, progress, member.transport, member.target, self.conditions, self.listener)
            except DeviceFull as error:  # what is smaller may still fit
                if self._is_fleet:
                    raise
                for name in group:
                    self._fail(member, name, type(error).__name__, error.message, error.hint)
            if member.taken == before:
                raise DeviceError(
                    f"a worker ended without measuring any of {len(group)} models",
                    hint="Give more --budget, or measure fewer or smaller models at once.",
                )

    def _seconds(self, group: list[str], groups: int) -> tuple[float, float]:
        """Time for the rounds of a process, and for all of it: those still wanted share what is left of the budget."""
        counts, windows = self._counts(group), self.metered.most(group)
        wanted = max(self.budget.min_processes - min(counts.values()), windows, 1)
        share = max(self.limit_s - self.spent_s, 0.0) / (wanted * groups)
        rounds = (BLOCKS_SHARE if windows else 1.0) * share
        return max(rounds - START_S - MODEL_S * len(group), 0.5), share

    def _process(self, member: Member, folder: Path, group: list[str], seconds: float, share_s: float) -> None:
        """One fresh worker over a group of models."""
        if self.ended:
            raise DeviceError("the campaign has ended")
        with self.one_at_a_time:
            reader, environment = self._prepared(member, folder, group, seconds, share_s)
        began_s = reader.spent_s
        try:
            reader.run(member.transport, folder, environment)
        finally:
            with self.one_at_a_time:
                self.spent_s += reader.spent_s - began_s
                if not self._is_fleet:  # what the sentinels of many showed is that of none
                    reference.remember(self.conditions, reader.sentinels_ns)
        summary = latencies(self.store, self.conditions)
        widest = max((summary[name].spread for name in group if name in summary), default=0.0)
        self.listener(events.ProcessFinished(reader.number, widest))

    def _prepared(
        self, member: Member, folder: Path, group: list[str], seconds: float, share_s: float
    ) -> tuple[Reader, dict[str, str]]:
        """The job of a worker in the folder, who reads its lines, and its environment."""
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
        self.processes += 1
        number = self.before + self.processes  # those of an earlier call drew other numbers
        remembered = None if self._is_fleet else reference.remembered_ns(self.conditions)
        job = self._job(candidates, number, seconds, remembered, share_s if metered else None)
        job.write(folder / "job.json")
        self.listener(events.ProcessStarted(self.processes, len(group)))
        facts: list[dict[str, Any]] = [{"event": "device", "address": member.address}] if self._is_fleet else []
        process = self.store.start_process(self.conditions, self.invocation, job.plan.seed, facts)
        facts += [] if remembered is None else [{"event": "reference", "sentinel_ns": remembered}]
        reader = Reader(
            self.store,
            process,
            job,
            number=self.processes,
            turn=self.one_at_a_time,
            taken=partial(_one_more, member),
            fail=partial(self._fail, member),
            listener=self.listener,
            spent_s=self.spent_s,
            facts=facts,
            metered=self.metered,
            load_s=max(LOAD_S, LOAD_SHARE * self.limit_s),
        )
        return reader, worker_environment(self.target, number)

    def _job(
        self,
        candidates: tuple[Candidate, ...],
        number: int,
        seconds: float,
        remembered: float | None,
        share_s: float | None,
    ) -> Job:
        known = [value for value in (remembered, reference_ns(self.store, self.conditions)) if value is not None]
        target, runtime, budget = self.target, self.target.runtime, self.budget
        return Job(
            nonce=uuid.uuid4().hex,
            runtime=runtime.name,
            candidates=candidates,
            plan=JobPlan(
                seed=self.seed + number,
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

    def _counts(self, names: list[str]) -> dict[str, int]:
        """Processes that took at least the least number of blocks of each model."""
        return complete_processes(self.store, self.conditions, names, least_blocks=self._least_blocks)

    @property
    def _least_blocks(self) -> int:
        return min(JobPlan().min_rounds, self.budget.rounds)

    def _again(self, subjects: dict[str, Subject]) -> list[str]:
        """Models for more workers, where a device of a fleet is in doubt although nothing is pending."""
        if not self.doubted or len(self.members) < 2:
            return []
        failed = self.store.failures(self.conditions)
        return [name for name in self.files if name in subjects and name not in failed][:GROUP_SIZE]

    @property
    def _is_fleet(self) -> bool:
        return bool(self.target.access.fleet)

    def _fail(self, member: Member, model: str, kind: str, reason: str, hint: str) -> None:
        member.taken += 1
        self.store.add_failure(model, self.conditions, kind=kind, reason=reason, hint=hint)
        self.listener(events.ModelFailed(model, self.store.models([model])[model].name, reason))


def _one_more(member: Member) -> None:
    member.taken += 1


def _side_by_side(works: Sequence[Callable[[], None]], store: Store, stop: Callable[[], None]) -> None:
    """Do all at once, each in a thread; one after another for a store that has a database for each thread.

    The first error of one leaves as soon as all have ended; `stop` is called to have them end early.
    """
    if not isinstance(store.engine.pool, sa.QueuePool):
        for work in works:
            work()
        return
    with ThreadPoolExecutor(len(works), thread_name_prefix="hwnas-device") as threads:
        running = [threads.submit(work) for work in works]
        try:
            for one in as_completed(running):
                one.result()
        except BaseException:
            stop()
            raise
