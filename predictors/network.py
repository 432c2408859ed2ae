"""From kernel times to networks: a kernel model, a composition, and an interval calibrated on networks left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import MissingKernel, UsageError
from predictors import composition, intervals
from predictors.composition import Composition
from predictors.models.protocol import KernelModel, KernelSamples, MakeKernelModel
from predictors.prediction import Prediction
from predictors.samples import NetworkSamples
from profiler.operators import Operator, OperatorGraph

Floats = NDArray[np.float64]

#: Folds of the cross-validation that calibrates the interval.
FOLDS = 10
#: Folds over kernels, and fewest kernels, that tell how wrong a guess is.
KERNEL_FOLDS = 5
LEAST_KERNELS = 12
LEAST_GUESS = 0.1


@dataclass(frozen=True)
class NetworkModel:
    """Predicts networks from their kernels.

    Attributes:
        kernels: times of kernels.
        composition: from kernels to a network.
        half_width: relative half-width of the 90 % interval where all kernels were measured, or None.
        guess_half_width: of the time of a kernel that was not.
        extra_ms: by a kernel's key, what measured networks say of it beyond its own time
            (`composition.kernel_extras`).
    """

    kernels: KernelModel
    composition: Composition
    half_width: float | None = None

    guess_half_width: float = 1.0
    extra_ms: Mapping[str, float] = field(default_factory=dict)

    def predict(self, graphs: Sequence[OperatorGraph], *, missing: str = "guess") -> Prediction:
        """Predict fused graphs.

        Args:
            graphs: what the target's runtime made of the networks.
            missing: `guess` kernels that were never measured, which coverage and interval then tell; or `raise`.

        Raises:
            MissingKernel: a kernel was never measured, and `missing` is `raise`.
            UsageError: `missing` is neither.
        """
        check_missing(missing)
        prediction = self.predict_counts(*kernel_counts(graphs))
        if missing == "raise":
            require_known(prediction.missing)
        return prediction

    def predict_counts(self, catalogue: Sequence[Operator], counts: NDArray[np.float64]) -> Prediction:
        """Predict networks given how often each runs each kernel: `counts` is `(n, len(catalogue))`."""
        found = self.kernels.predict(catalogue)
        extra = np.array([self.extra_ms.get(operator.key, 0.0) for operator in catalogue])
        ms = np.maximum(found.ms + extra, 0.1 * found.ms)
        total = counts @ ms
        value = self.composition.apply(total, counts.sum(axis=1))
        coverage = np.divide(counts @ (ms * found.known), total, out=np.ones_like(total), where=total > 0)
        unknown = tuple(
            tuple(catalogue[int(j)].key for j in np.flatnonzero((row > 0) & ~found.known)) if coverage[i] < 1 else ()
            for i, row in enumerate(counts)
        )
        low, high = intervals.around(value, coverage, self.half_width, self.guess_half_width)
        return Prediction(value, low, high, "ms", coverage, unknown)


def check_missing(missing: str) -> None:
    """Refuse a way of treating missing kernels that is none.

    Raises:
        UsageError: it is neither `guess` nor `raise`.
    """
    if missing not in ("guess", "raise"):
        raise UsageError(f"missing kernels can be treated as 'guess' or 'raise', got {missing!r}")


def require_known(missing: Iterable[tuple[str, ...]]) -> None:
    """Refuse predictions that stand on kernels which were never measured.

    Raises:
        MissingKernel: there are some.
    """
    unknown = sorted({key for keys in missing for key in keys})
    if unknown:
        raise MissingKernel(
            f"{len(unknown)} kernels were never measured on this device: {'; '.join(unknown[:3])}",
            hint="Profile networks that have them, or let them be guessed.",
        )


def fit(make: MakeKernelModel, kernels: KernelSamples, networks: NetworkSamples) -> NetworkModel:
    """Fit kernels and composition on all networks, and the interval on networks left out in turn.

    Args:
        make: the kernel model's class.
        kernels: measured kernels.
        networks: measured networks; without any the composition is the plain sum and there is no interval.
    """
    model = make.fit(kernels)
    fitted = _compose(model, networks)
    errors: list[float] = []
    count = len(networks.ids)
    for fold in range(min(FOLDS, count)):
        held = [i for i in range(count) if i % FOLDS == fold]
        rest = [i for i in range(count) if i % FOLDS != fold]
        if rest:
            guess = _compose(model, networks.take(rest)).predict([networks.graphs[i] for i in held]).value
            errors.extend(np.abs(networks.ms[held] - guess) / guess)
    width = intervals.relative_half_width(np.array(errors))
    return replace(fitted, half_width=width, guess_half_width=_guess_half_width(make, kernels))


def _guess_half_width(make: MakeKernelModel, kernels: KernelSamples) -> float:
    """Relative error that 90 % of kernels stay below when the model has not seen them; 1 with too few to tell.

    At least 10 %: what was never measured may lie beyond what the others span.
    """
    count = len(kernels.operators)
    if count < LEAST_KERNELS:
        return 1.0
    errors: list[float] = []
    for fold in range(KERNEL_FOLDS):
        held = [i for i in range(count) if i % KERNEL_FOLDS == fold]
        rest = [i for i in range(count) if i % KERNEL_FOLDS != fold]
        guess = make.fit(kernels.take(rest)).predict([kernels.operators[i] for i in held]).ms
        errors.extend(np.abs(kernels.ms[held] - guess) / guess)
    return max(intervals.relative_half_width(np.array(errors)) or 1.0, LEAST_GUESS)


def _compose(model: KernelModel, networks: NetworkSamples) -> NetworkModel:
    if not model.composed:
        return NetworkModel(model, Composition())
    catalogue, counts = kernel_counts(networks.graphs)
    ms = model.predict(catalogue).ms
    fitted = composition.fit(counts @ ms, counts.sum(axis=1), networks.ms)
    extra = composition.kernel_extras(fitted, counts, ms, networks.ms)
    return NetworkModel(
        model, fitted, extra_ms={operator.key: float(x) for operator, x in zip(catalogue, extra, strict=True) if x}
    )


def kernel_counts(graphs: Sequence[OperatorGraph]) -> tuple[tuple[Operator, ...], Floats]:
    """Distinct kernels of networks, and how often each network runs each, `(n, k)`."""
    catalogue = tuple(dict.fromkeys(operator for graph in graphs for operator in graph.operators))
    index = {operator: i for i, operator in enumerate(catalogue)}
    counts = np.zeros((len(graphs), len(catalogue)))
    for row, graph in enumerate(graphs):
        for operator in graph.operators:
            counts[row, index[operator]] += 1
    return catalogue, counts
