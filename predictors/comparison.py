"""Predictors side by side: the same splits, several seeds, and what a search would have made of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.conditions import Conditions
from device_profiles.errors import InvalidData, InvalidTable
from predictors import evaluation, registry, samples
from predictors.graphs.graph_network import GraphNetwork
from predictors.graphs.protocol import GraphPredictor
from predictors.models.protocol import KernelSamples
from predictors.network import NetworkModel, kernel_counts
from predictors.prediction import UNITS
from predictors.samples import NetworkSamples
from profiler.store import Store
from profiler.work import graph_macs

Floats = NDArray[np.float64]

#: Share of the networks that each split leaves out, and fewest networks of a store.
HELD_SHARE = 0.3
LEAST_NETWORKS = 10
#: Levels at which intervals are checked.
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
#: Bounds of the searches: these quantiles of the measured costs.
BOUNDS = tuple(float(q) for q in np.linspace(0.1, 0.9, 9))

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Spread:
    """A figure over several splits.

    Attributes:
        mean: over splits.
        low: lower end of the 95 % interval of the mean, by Student's t.
        high: upper end.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Selected:
    """What searches that trust a predictor end with: under each bound, the largest network that is predicted to fit.

    Attributes:
        violations: share of the selected networks whose measured cost is over the bound.
        excess: by how much those are over it, relative, on the mean; 0 without any.
        regret: multiply-accumulates that the selected networks within the bound lack against the largest measured one
            that fits, relative, on the mean.
        empty: share of searches that found nothing though something fitted.
    """

    violations: float
    excess: float
    regret: float
    empty: float


@dataclass(frozen=True)
class Row:
    """One predictor.

    Attributes:
        name: of the predictor.
        figures: `mape`, `within_5`, `within_10`, `spearman`, `interval_coverage`; those that could be had.
        kinds: by kind of kernel, the median relative error at kernels that no fitted network runs, and their number.
        selected: see `Selected`, over all splits.
        calibration: pairs of a level and the share of measured costs inside the interval of that level.
        predicted: predictions of the first split.
        failure: why it could not be fitted, or "".
    """

    name: str
    figures: dict[str, Spread]
    kinds: dict[str, tuple[float, int]]
    selected: Selected | None
    calibration: tuple[tuple[float, float], ...]
    predicted: Floats
    failure: str = ""


@dataclass(frozen=True)
class Comparison:
    """Predictors side by side.

    Attributes:
        target: whose measurements.
        cost: which cost.
        unit: of it.
        rows: one for each predictor, the baselines included.
        noise_mape: error that a second measurement would have, or None.
        networks: measured networks.
        seeds: number of splits.
        measured: measured costs of the networks that the first split left out.
    """

    target: str
    cost: str
    unit: str
    rows: tuple[Row, ...]
    noise_mape: float | None
    networks: int
    seeds: int
    measured: Floats


def compare(
    names: Sequence[str],
    store: Store,
    target: str,
    *,
    cost: str = "latency",
    seeds: int = 5,
    progress: Progress = lambda done, total: None,
) -> Comparison:
    """Fit predictors on the same random splits of the measured networks, beside the baselines.

    Networks are left out together with the kernels that they alone run.

    Args:
        names: predictors; baselines are added.
        store: measurements.
        target: of which target.
        cost: `latency`, `energy` or `memory`.
        seeds: number of splits, at least 2.
        progress: told how many fits are done, and of how many.

    Raises:
        InvalidData: the store has fewer than 10 networks with this cost.
        UsageError: a predictor does not predict the cost.
        UnknownName: there is no such predictor.
    """
    evaluation.require_cost(names, cost)
    conditions = store.require_conditions(target)
    networks = samples.networks(store, conditions, cost)
    count = len(networks.ids)
    if count < LEAST_NETWORKS:
        raise InvalidData(
            f"store {store.url} has {count} networks of target {target!r} with {cost}; at least {LEAST_NETWORKS} "
            "are needed to compare predictors",
            hint="Profile more networks.",
        )
    macs = np.array([float(graph_macs(store.graph(model))) for model in networks.ids])
    orders = [np.random.default_rng(seed).permutation(count) for seed in range(seeds)]
    splits = [(order[int(HELD_SHARE * count) :], order[: int(HELD_SHARE * count)]) for order in orders]
    kernels = samples.kernels(store, conditions, cost=cost)
    wanted = tuple(dict.fromkeys((*names, *evaluation.baselines_of(cost))))
    rows = []
    for number, name in enumerate(wanted):
        rows.append(_row(name, store, conditions, cost, networks, kernels, macs, splits))
        progress(number + 1, len(wanted))
    noise = evaluation.noise_mape(store, conditions, networks.ids) if cost == "latency" else None
    unit, measured = UNITS[cost], networks.cost[splits[0][1]]
    return Comparison(target, cost, unit, tuple(rows), noise, count, seeds, measured)


def _row(
    name: str,
    store: Store,
    conditions: Conditions,
    cost: str,
    networks: NetworkSamples,
    kernels: KernelSamples,
    macs: Floats,
    splits: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> Row:
    figures: dict[str, list[float]] = defaultdict(list)
    errors: dict[str, list[float]] = defaultdict(list)
    ratios: list[Floats] = []
    choices: list[Selected] = []
    first = np.empty(0)
    for rest, held in splits:
        train, test = networks.take(rest.tolist()), networks.take(held.tolist())
        try:
            model = registry.get(name).fit(samples.kernels(store, conditions, train.ids, cost=cost), train)
        except InvalidTable as refusal:
            return Row(name, {}, {}, None, (), np.empty(0), refusal.message)
        found = model.predict(test.graphs)
        scored = evaluation.scores(found.value, test.cost, found.low, found.high)
        for figure in ("mape", "within_5", "within_10", "spearman", "interval_coverage"):
            value = getattr(scored, figure)
            if value is not None:
                figures[figure].append(value)
        if found.low is not None and found.high is not None:
            side = np.where(test.cost > found.value, found.high - found.value, found.value - found.low)
            ratios.append(np.abs(test.cost - found.value) / side)
        choices.append(selected(found.value, test.cost, macs[held]))
        for kind, error in _kernel_errors(model, kernels, train):
            errors[kind].append(error)
        if not len(first):
            first = found.value
    return Row(
        name,
        {figure: _spread(values) for figure, values in figures.items() if len(values) == len(splits)},
        {kind: (float(np.median(values)), len(values)) for kind, values in sorted(errors.items())},
        _mean(choices),
        _calibration(np.concatenate(ratios)) if ratios else (),
        first,
    )


def selected(predicted: Floats, measured: Floats, macs: Floats) -> Selected:
    """What searches end with that trust predictions: the largest network that is predicted to keep a bound.

    Args:
        predicted: `(n,)`, costs.
        measured: `(n,)`, costs.
        macs: `(n,)`, multiply-accumulates: what the searches maximise.
    """
    over, excess, regret, empty = [], [], [], []
    for bound in np.quantile(measured, BOUNDS):
        fits, believed = measured <= bound, predicted <= bound
        if not believed.any():
            empty.append(1.0)
            continue
        empty.append(0.0)
        # Of equal sizes the one that is predicted to be cheapest.
        best = min(np.flatnonzero(believed), key=lambda i: (-macs[i], predicted[i]))
        over.append(float(not fits[best]))
        if fits[best]:
            regret.append(1.0 - macs[best] / macs[fits].max())
        else:
            excess.append(measured[best] / bound - 1.0)
    return Selected(*(float(np.mean(values)) if values else 0.0 for values in (over, excess, regret, empty)))


def _kernel_errors(model: GraphPredictor, kernels: KernelSamples, train: NetworkSamples) -> list[tuple[str, float]]:
    """Kind and relative error of each kernel that no fitted network runs."""
    composed = model.base if isinstance(model, GraphNetwork) else model
    if not isinstance(composed, NetworkModel) or not kernels.operators:
        return []
    seen = set(kernel_counts(train.graphs)[0])
    rows = [i for i, operator in enumerate(kernels.operators) if operator not in seen]
    if not rows:
        return []
    found = composed.kernels.predict([kernels.operators[i] for i in rows])
    wrong = np.abs(found.cost - kernels.cost[rows]) / kernels.cost[rows]
    return [(kernels.operators[i].kind, float(error)) for i, error in zip(rows, wrong, strict=True)]


def _calibration(ratios: Floats) -> tuple[tuple[float, float], ...]:
    """Share of errors inside the interval of each level; intervals of other levels than 90 % are scaled as Gaussian."""
    from scipy.stats import norm

    def scale(level: float) -> float:
        return float(norm.ppf(0.5 + level / 2) / norm.ppf(0.95))

    return tuple((level, float((ratios <= scale(level)).mean())) for level in LEVELS)


def _spread(values: list[float]) -> Spread:
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return Spread(mean, mean, mean)
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Spread(mean, mean - half, mean + half)


def _mean(choices: list[Selected]) -> Selected:
    names = ("violations", "excess", "regret", "empty")
    return Selected(*(float(np.mean([getattr(choice, name) for choice in choices])) for name in names))


def text(comparison: Comparison) -> str:
    """The comparison for people."""
    head = ["", "MAPE", "95 % interval", "in 5 %", "in 10 %", "Spearman", "in 90 %", "over bound", "regret"]
    lines = [head]
    for row in comparison.rows:
        if row.failure:
            lines.append([row.name, row.failure])
            continue
        mape, shown = row.figures["mape"], [row.name]
        shown += [f"{mape.mean:.1%}", f"{max(mape.low, 0):.1%} to {mape.high:.1%}"]
        for figure, form in (("within_5", "{:.0%}"), ("within_10", "{:.0%}"), ("spearman", "{:.3f}")):
            shown.append(form.format(row.figures[figure].mean) if figure in row.figures else "-")
        covered = row.figures.get("interval_coverage")
        shown.append("-" if covered is None else f"{covered.mean:.0%}")
        assert row.selected is not None
        shown += [f"{row.selected.violations:.0%}", f"{row.selected.regret:.1%}"]
        lines.append(shown)
    widths = [max(len(line[i]) for line in lines if len(line) == len(head)) for i in range(len(head))]
    widths[0] = max(len(line[0]) for line in lines)
    made = [
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=False)))
        for line in lines
    ]
    kinds = _kind_lines(comparison)
    noise = "unknown" if comparison.noise_mape is None else f"{comparison.noise_mape:.1%}"
    made.append(
        f"{comparison.networks} networks, {comparison.seeds} random splits that leave {HELD_SHARE:.0%} out; "
        f"noise ceiling (measured twice): {noise}"
    )
    return "\n".join(line.rstrip() for line in [*made, *kinds])


def _kind_lines(comparison: Comparison) -> list[str]:
    """Median error at unseen kernels, by kind, for the predictors that have kernels."""
    having = [row for row in comparison.rows if row.kinds]
    if not having:
        return []
    kinds = sorted(
        {kind for row in having for kind in row.kinds}, key=lambda kind: -having[0].kinds.get(kind, (0, 0))[1]
    )
    lines = ["", "median error at kernels that no fitted network runs, by kind"]
    width = max(len(kind) for kind in kinds)
    lines.append(" " * width + "  " + "  ".join(f"{row.name:>10}" for row in having))
    for kind in kinds:
        cells = [f"{row.kinds[kind][0]:10.1%}" if kind in row.kinds else f"{'-':>10}" for row in having]
        lines.append(f"{kind:<{width}}  " + "  ".join(cells))
    return lines
