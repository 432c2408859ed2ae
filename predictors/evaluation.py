"""How good a predictor is.

On networks it has not seen, beside baselines, beside the noise of the measurement itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.conditions import Conditions
from device_profiles.errors import InvalidData, InvalidTable, UsageError
from predictors import registry
from predictors.architectures import Archs, EncodingPredictor
from predictors.predictor import Predictor, same_conditions
from predictors.samples import NetworkSamples
from predictors.samples import kernels as kernel_samples
from predictors.samples import networks as network_samples
from profiler.store import Store
from profiler.summary import estimates

Floats = NDArray[np.float64]

#: What every learned predictor is printed beside.
BASELINES = ("roofline", "linear", "bayesian-linear")
FOLDS = 5


@dataclass(frozen=True)
class Scores:
    """Errors of predictions of `n` networks; fractions in 0..1.

    Attributes:
        mape: mean of |predicted - measured| / measured.
        within_5: share within +-5 %.
        within_10: share within +-10 %.
        spearman: rank correlation; None for fewer than 3 networks or constant values.
        interval_coverage: share of measured values inside the 90 % intervals; None without intervals.
        n: networks.
    """

    mape: float
    within_5: float
    within_10: float
    spearman: float | None
    interval_coverage: float | None
    n: int


@dataclass(frozen=True)
class Evaluation:
    """A predictor beside its baselines on one split.

    Attributes:
        predictor: its name.
        target: its target.
        scores: of the predictor.
        noise_mape: error that a second measurement would have; no model can be better. None without two processes each.
        baselines: scores of the others, fitted on the same networks.
        split: `held out` if the store has networks that the predictor was not fitted on, else `cross-validated`; `all
            measured` where it does not know what it learned from.
        measured: `(n,)`, ms.
        predicted: `(n,)`, ms.
    """

    predictor: str
    target: str
    scores: Scores
    noise_mape: float | None
    baselines: dict[str, Scores]
    split: str
    measured: Floats
    predicted: Floats

    def table(self) -> str:
        """The scores as text."""
        lines = [f"{'':16}{'MAPE':>8}{'within 5 %':>12}{'within 10 %':>13}{'Spearman':>10}{'in 90 % interval':>18}"]
        for name, scores in {self.predictor: self.scores, **self.baselines}.items():
            rho = "-" if scores.spearman is None else f"{scores.spearman:.3f}"
            covered = "-" if scores.interval_coverage is None else f"{scores.interval_coverage:.0%}"
            lines.append(
                f"{name:16}{scores.mape:>8.1%}{scores.within_5:>12.0%}{scores.within_10:>13.0%}{rho:>10}{covered:>18}"
            )
        noise = "unknown" if self.noise_mape is None else f"{self.noise_mape:.1%}"
        lines.append(f"{self.scores.n} networks, {self.split}; noise ceiling (measured twice): {noise}")
        return "\n".join(lines)


def scores(predicted: Floats, measured: Floats, low: Floats | None = None, high: Floats | None = None) -> Scores:
    """Scores of predictions `(n,)` against measured values `(n,)`; `low` and `high` are the ends of the intervals."""
    from scipy.stats import spearmanr

    error = np.abs(predicted - measured) / measured
    rho = None
    if len(measured) >= 3 and np.ptp(predicted) > 0 and np.ptp(measured) > 0:
        rho = float(spearmanr(predicted, measured).statistic)
    covered = None
    if low is not None and high is not None:
        covered = float(((low <= measured) & (measured <= high)).mean())
    return Scores(
        float(error.mean()), float((error <= 0.05).mean()), float((error <= 0.10).mean()), rho, covered, len(measured)
    )


def noise_mape(store: Store, conditions: Conditions, ids: tuple[str, ...]) -> float | None:
    """Mean relative difference of two halves of the processes, scaled to that of two full measurements.

    Halves of `p` processes differ by `sqrt(2)` times as much as two measurements of `p` would; a prediction without any
    error of its own differs from one measurement by `1/sqrt(2)` of the latter: together a factor of 1/2.
    """
    found = estimates(store, conditions)
    differences = []
    for model in ids:
        values = [found[model][process].best_ns for process in sorted(found.get(model, {}))]
        if len(values) >= 2:
            first, second = float(np.median(values[::2])), float(np.median(values[1::2]))
            differences.append(abs(first - second) / (0.5 * (first + second)))
    return 0.5 * float(np.mean(differences)) if differences else None


def evaluate(predictor: Predictor, store: Store, *, compare: tuple[str, ...] = ()) -> Evaluation:
    """Evaluate on the networks that a predictor was not fitted on, or by cross-validation if there are none.

    Args:
        predictor: a fitted one.
        store: measurements of its target.
        compare: further predictors to print beside it.

    Raises:
        InvalidData: the store has fewer than 3 networks to evaluate on.
        ConditionMismatch: it was measured under other conditions.
        UsageError: a predictor to compare with does not predict this cost.
    """
    card = predictor.card
    conditions = store.require_conditions(card.target)
    same_conditions(predictor, conditions)
    require_cost(compare, card.cost)
    everything = network_samples(store, conditions, card.cost)
    trained = set(card.trained_on)
    count = len(everything.ids)
    held = [i for i, model in enumerate(everything.ids) if model not in trained]
    rest = [i for i, model in enumerate(everything.ids) if model in trained]
    if len(held) >= 3:
        split, folds = "held out", [(rest, held)]
        test = everything.take(held)
        prediction = predictor.model.predict(test.graphs)
        own, predicted = scores(prediction.value, test.cost, prediction.low, prediction.high), prediction.value
    elif count < 3:
        raise InvalidData(
            f"store {store.url} has {count} networks of target {card.target!r}; at least 3 are needed",
            hint="Profile more networks.",
        )
    else:
        split, test = "cross-validated", everything
        folds = [
            ([i for i in range(count) if i % FOLDS != f], [i for i in range(count) if i % FOLDS == f])
            for f in range(min(FOLDS, count))
        ]
        own, predicted = _split(card.predictor, card.cost, store, conditions, everything, folds)
    baselines = {}
    for name in dict.fromkeys((*baselines_of(card.cost), *compare)):
        if name == card.predictor or not folds[0][0]:
            continue
        try:
            baselines[name] = _split(name, card.cost, store, conditions, everything, folds)[0]
        except InvalidTable:
            if name in compare:
                raise
    noise = noise_mape(store, conditions, test.ids) if card.cost == "latency" else None
    return Evaluation(card.predictor, card.target, own, noise, baselines, split, test.cost, predicted)


def evaluate_architectures(predictor: EncodingPredictor, store: Store, read: Callable[[str], Archs]) -> Evaluation:
    """Evaluate what knows architectures alone on all measured ones of its space.

    What it learned from is not known to it, so all count, and none is beside it.

    Args:
        predictor: with a space and a target.
        store: measurements of its target.
        read: genes `(d,)` of an architecture of the space, from its text.

    Raises:
        InvalidData: the store has fewer than 3 networks of the space.
        UsageError: it does not say of which space or target it speaks.
    """
    card = predictor.card
    if card.target is None or card.space is None:
        raise UsageError(
            f"this {card.predictor} does not say of which {'target' if card.target is None else 'space'} it speaks",
            hint="Give target= and space= where it is learned.",
        )
    conditions = store.require_conditions(card.target)
    measured = network_samples(store, conditions, card.cost)
    rows = [
        row if row is not None and row.space == card.space else None for row in map(store.models().get, measured.ids)
    ]
    kept = [i for i, row in enumerate(rows) if row is not None and row.arch]
    if len(kept) < 3:
        raise InvalidData(
            f"store {store.url} has {len(kept)} networks of {card.space} on {card.target!r}; at least 3 are needed",
            hint="Profile more networks.",
        )
    test = measured.take(kept)
    texts = [row.arch for row in rows if row is not None and row.arch]
    found = predictor.predict(np.array([read(text) for text in texts], dtype=np.int64))
    noise = noise_mape(store, conditions, test.ids) if card.cost == "latency" else None
    own = scores(found.value, test.cost, found.low, found.high)
    return Evaluation(card.predictor, card.target, own, noise, {}, "all measured", test.cost, found.value)


def baselines_of(cost: str) -> tuple[str, ...]:
    """The baselines that predict a cost."""
    return tuple(name for name in BASELINES if cost in registry.get(name).costs)


def require_cost(names: Sequence[str], cost: str) -> None:
    """Refuse predictors of other costs.

    Raises:
        UnknownName: there is no such predictor.
        UsageError: one does not predict the cost.
    """
    for name in names:
        if cost not in registry.get(name).costs:
            known = ", ".join(registry.names_for(cost))
            raise UsageError(f"{name} does not predict {cost}", hint=f"Predictors of {cost}: {known}.")


def _split(
    name: str,
    cost: str,
    store: Store,
    conditions: Conditions,
    everything: NetworkSamples,
    folds: list[tuple[list[int], list[int]]],
) -> tuple[Scores, Floats]:
    """Fit on one side of each fold, predict the other; the kernels of networks left out are left out too."""
    make = registry.get(name)
    value = np.full(len(everything.ids), np.nan)
    low, high = value.copy(), value.copy()
    for rest, held in folds:
        train = everything.take(rest)
        model = make.fit(kernel_samples(store, conditions, train.ids, cost=cost), train)
        found = model.predict([everything.graphs[i] for i in held])
        value[held] = found.value
        if found.low is not None and found.high is not None:
            low[held], high[held] = found.low, found.high
    rows = np.isfinite(value)
    certain = np.isfinite(low[rows]).all()
    ends = (low[rows], high[rows]) if certain else (None, None)
    return scores(value[rows], everything.cost[rows], *ends), value[rows]


__all__ = [
    "Evaluation", "Scores", "baselines_of", "evaluate", "evaluate_architectures", "noise_mape", "require_cost",
    "scores",
]  # fmt: skip
