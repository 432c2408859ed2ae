"""Measure next what the current model knows least about, until it is good enough or the time is spent."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import HwnasError, UsageError
from device_profiles.profile import Target, as_target
from predictors import registry, samples
from predictors.composition import KERNEL_ERROR, NETWORK_ERROR
from predictors.features import LAUNCH_MS, features, roofline_ms
from predictors.models.protocol import DeviceFacts
from predictors.network import kernel_counts
from predictors.samples import NetworkSamples
from profiler import events
from profiler.campaign import Budget, Outcome, measure
from profiler.fusing import compile_for, fused_graph
from profiler.operators import OperatorGraph
from profiler.store import Store
from profiler.subjects import Subject, require_subjects
from profiler.summary import failures, measurements

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Relative standard errors that are assumed of a model at a kernel that is like none before, and of a profile.
UNSEEN_ERROR, PROFILE_ERROR = 0.6, 0.05
#: And of the composition: its scale, time for each kernel, and constant.
COMPOSITION_ERRORS = (0.3, 1.0, 0.3)
#: Kernels are alike within this distance of their features, in standard deviations; and across kinds, by this much.
LENGTH, OTHER_KIND = 0.7, 0.2
#: Networks that tell the error and are never learned from: this share of the pool, within these bounds.
HELD_SHARE, FEWEST_HELD, MOST_HELD = 0.25, 5, 12
#: Networks of a round.
BATCH = 6
#: The predictor that tells how good the measurements are, and the one before it has enough kernels.
PREDICTOR, FIRST_PREDICTOR = "lightgbm", "lookup"

#: Kernel costs before anything is known; their ratios matter alone.
_ANY_DEVICE = DeviceFacts(flops_per_s=5e10, bytes_per_s=1e10)

Progress = Callable[["Round"], None]


@dataclass(frozen=True)
class Round:
    """What was known after a round.

    Attributes:
        networks: networks learned from.
        device_s: device time spent so far in this store.
        error: mean relative error at the networks held out.
    """

    networks: int
    device_s: float
    error: float


@dataclass(frozen=True)
class Campaign:
    """What an active campaign found.

    Attributes:
        outcome: everything that it measured, those held out included.
        rounds: in order.
        held: ids of the networks held out.
        reached: whether the error came down to what was asked for.
    """

    outcome: Outcome
    rounds: tuple[Round, ...]
    held: tuple[str, ...]
    reached: bool


def require_pool(error: float, networks: int) -> None:
    """Refuse what `measure_until` cannot start from.

    Args:
        error: to reach.
        networks: different ones to choose from, or more than there will be.

    Raises:
        UsageError: there are too few, or the error is not above 0.
    """
    if error <= 0 or networks < 2 * FEWEST_HELD:
        raise UsageError(
            f"an error above 0 and at least {2 * FEWEST_HELD} different networks to choose from are needed; "
            f"got {error} and {networks}",
            hint="Give more --samples, --probes or --model.",
        )


def measure_until(
    pool: Sequence[Subject],
    error: float,
    *,
    target: Target | str | Path,
    store: Store,
    budget: Budget | None = None,
    seed: int = 0,
    wait: bool = False,
    listener: events.Listener = events.silent,
    progress: Progress = lambda done: None,
) -> Campaign:
    """Measure networks of a pool, the most informative ones first, until predictions are good enough.

    A random part of the pool is measured first and held out; the error is that of predicting it. The others are
    measured in rounds of a few (`choose`). Networks that the store has already are not measured again.

    Args:
        pool: what may be measured.
        error: mean relative error to reach, above 0.
        target: where and how; or its name, or the path of its profile.
        store: where the measurements go.
        budget: of each network, and in `device_s` of all together; no limit if that is None.
        seed: of what is held out, and of the order of the rounds.
        wait: until others have finished measuring on the device, in place of `DeviceBusy`.
        listener: told what the campaigns do.
        progress: told of each round.

    Raises:
        UsageError: the pool is too small to hold anything out, or the error is not above 0.
        DeviceError: see `profiler.measure`.
    """
    target = as_target(target)
    require_subjects(pool)
    limits = budget or Budget()
    unique = list({subject.id: subject for subject in pool}.values())
    require_pool(error, len(unique))
    graphs, usable = _compiled(unique, target)
    if len(usable) < 2 * FEWEST_HELD:
        raise UsageError(
            f"the runtime of {target.name} takes {len(usable)} of {len(unique)} networks; "
            f"at least {2 * FEWEST_HELD} are needed to choose from",
            hint="Measure them without --until to see why the others are refused.",
        )
    order = np.random.default_rng(seed).permutation(len(usable))
    count = int(np.clip(HELD_SHARE * len(usable), FEWEST_HELD, MOST_HELD))
    held, rest = order[:count], np.sort(order[count:])
    refused = [subject for subject in unique if subject not in usable]
    failed = measure(refused, target=target, store=store, budget=limits, wait=wait).failures if refused else ()
    wanted = [usable[i] for i in held]
    spent_before = _spent(store, target)
    rounds: list[Round] = []
    learned: list[int] = []
    while True:
        left = None if limits.device_s is None else limits.device_s - (_spent(store, target) - spent_before)
        share = _share(limits, left)
        measure(wanted, target=target, store=store, budget=share, seed=seed, wait=wait, listener=listener)
        if learned:
            rounds.append(_judge(store, target, {usable[i].id for i in held}, {usable[i].id for i in learned}))
            progress(rounds[-1])
            if rounds[-1].error <= error or len(learned) == len(rest) or (left is not None and left <= 0):
                break
        picked = choose([graphs[i] for i in rest], [int(np.searchsorted(rest, i)) for i in learned], BATCH)
        learned += [int(rest[i]) for i in picked]
        wanted = [usable[i] for i in learned]
    ids = [usable[i].id for i in (*held, *learned)]
    conditions = store.require_conditions(target.name)
    whole = Outcome(measurements(store, conditions, ids), (*failed, *failures(store, conditions, ids)))
    return Campaign(whole, tuple(rounds), tuple(usable[i].id for i in held), rounds[-1].error <= error)


def choose(graphs: Sequence[OperatorGraph], measured: Sequence[int], count: int) -> Integers:
    """The networks whose measurement takes most doubt from the predictions of all.

    A network's cost is a sum of kernel costs. Each has two relative errors: what a model does not know of the kernel,
    which is alike for similar kernels and goes when it is profiled; and what a profile does not know of the kernel in
    its place, which is weighed together by the networks that run it. The next network is the one that reduces the
    summed variance of all networks most. This is greedy A-optimal design for a Bayesian linear model whose first part
    is a Gaussian process.

    Source: Chaloner and Verdinelli, "Bayesian experimental design: a review", Statistical Science 10(3), 1995,
        section 2; greedy choice with Gaussian processes: Seo et al., "Gaussian process regression: active data
        selection and test point rejection", IJCNN 2000, section 3 (ALC).

    Args:
        graphs: `n` fused graphs.
        measured: indices of those that were measured.
        count: how many to choose, at most.

    Returns:
        Indices, at most `count`, in the order they were chosen; none of `measured`.
    """
    taken = list(dict.fromkeys(int(i) for i in measured))
    belief = _Belief.before(graphs)
    for index in taken:
        belief = belief.after(index)
    chosen: list[int] = []
    while len(chosen) < count and len(taken) < len(graphs):
        gains = belief.gains()
        gains[taken] = -np.inf
        best = int(np.argmax(gains))
        belief = belief.after(best)
        taken.append(best)
        chosen.append(best)
    return np.array(chosen, dtype=np.int64)


@dataclass(frozen=True)
class _Belief:
    """What is known of kernels.

    Attributes:
        share: `(n, k + 3)`, share of each kernel in each network's cost, roughly; then what the composition fits: the
            whole, launching its kernels, and a constant.
        model: `(k + 3, k + 3)`, covariance of what a model does not know of kernels.
        place: `(k + 3, k + 3)`, covariance of what profiles do not know of them, and of the composition.
    """

    share: Floats
    model: Floats
    place: Floats

    @staticmethod
    def before(graphs: Sequence[OperatorGraph]) -> _Belief:
        catalogue, counts = kernel_counts(graphs)
        cost = np.array([roofline_ms(operator, _ANY_DEVICE) for operator in catalogue])
        total = counts @ cost
        launching = counts.sum(axis=1) * LAUNCH_MS
        composed = np.stack([np.ones(len(total)), launching / total, total.min() / total], axis=1)
        share = np.concatenate([counts * cost / total[:, None], composed], axis=1)
        columns = features(catalogue, _ANY_DEVICE)
        columns = (columns - columns.mean(axis=0)) / np.maximum(columns.std(axis=0), 1e-9)
        square = (columns**2).sum(axis=1)
        distance = np.maximum(square[:, None] + square - 2 * columns @ columns.T, 0.0) / columns.shape[1]
        kinds = np.array([operator.kind for operator in catalogue])
        alike = np.exp(-distance / (2 * LENGTH**2)) * np.where(kinds[:, None] == kinds, 1.0, OTHER_KIND)
        model = np.zeros((share.shape[1],) * 2)
        model[: len(catalogue), : len(catalogue)] = UNSEEN_ERROR**2 * alike
        place = np.diag([*[KERNEL_ERROR**2] * len(catalogue), *np.square(COMPOSITION_ERRORS)])
        return _Belief(share, model, place)

    def gains(self) -> Floats:
        """By how much each network's measurement would reduce the summed variance, `(n,)`."""
        spread = self.model @ self.share.T
        profiling = np.empty(len(self.share))
        for index, row in enumerate(self.share):
            seen = np.flatnonzero(row)
            inner = self.model[np.ix_(seen, seen)] + PROFILE_ERROR**2 * np.eye(len(seen))
            profiling[index] = (np.linalg.solve(inner, spread[seen]) * spread[seen]).sum()
        crossed = self.share @ self.place @ self.share.T
        return np.asarray(profiling + (crossed**2).sum(axis=0) / (np.diag(crossed) + NETWORK_ERROR**2))

    def after(self, index: int) -> _Belief:
        """The belief after a network was measured: its kernels are profiled, and their weighted sum is known."""
        row = self.share[index]
        seen = np.flatnonzero(row)
        inner = self.model[np.ix_(seen, seen)] + PROFILE_ERROR**2 * np.eye(len(seen))
        model = self.model - self.model[:, seen] @ np.linalg.solve(inner, self.model[seen])
        gain = self.place @ row
        return replace(self, model=model, place=self.place - np.outer(gain, gain) / (row @ gain + NETWORK_ERROR**2))


def _compiled(subjects: Sequence[Subject], target: Target) -> tuple[list[OperatorGraph], list[Subject]]:
    """Fused graphs of what the runtime takes; what it refuses is left to the campaign, which says why."""
    graphs, usable = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        for subject in subjects:
            path.write_bytes(subject.onnx())
            try:
                graphs.append(fused_graph(compile_for(target, path), target, captured=subject.graph))
            except UsageError:
                raise
            except HwnasError:
                continue
            usable.append(subject)
    return graphs, usable


def _judge(store: Store, target: Target, held: set[str], learned: set[str]) -> Round:
    conditions = store.require_conditions(target.name)
    everything = samples.networks(store, conditions)
    test, train = _those(everything, held), _those(everything, learned)
    kernels = samples.kernels(store, conditions, train.ids)
    name = PREDICTOR if len(kernels.operators) >= 2 * BATCH else FIRST_PREDICTOR
    found = registry.get(name).fit(kernels, train, sure=False).predict(test.graphs)
    error = float(np.mean(np.abs(found.value - test.cost) / test.cost))
    return Round(len(train.ids), store.device_s(conditions), error)


def _those(networks: NetworkSamples, ids: set[str]) -> NetworkSamples:
    return networks.take([i for i, model in enumerate(networks.ids) if model in ids])


def _spent(store: Store, target: Target) -> float:
    conditions = store.conditions(target.name)
    return 0.0 if conditions is None else store.device_s(conditions)


def _share(limits: Budget, left: float | None) -> Budget:
    """The budget of one round: what is left of the whole, at most."""
    return limits if left is None else replace(limits, device_s=max(left, 0.0))
