"""From kernel times to networks: a kernel model, a composition, and an interval calibrated on networks left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import MissingKernel
from predictors import composition, intervals
from predictors.composition import Composition
from predictors.models.protocol import KernelModel, KernelSamples, MakeKernelModel
from predictors.prediction import Prediction
from predictors.samples import NetworkSamples
from profiler.operators import Operator, OperatorGraph

Floats = NDArray[np.float64]

#: Folds of the cross-validation that calibrates the interval.
FOLDS = 10


@dataclass(frozen=True)
class NetworkModel:
    """Predicts networks from their kernels.

    Attributes:
        kernels: times of kernels.
        composition: from kernels to a network.
        half_width: relative half-width of the 90 % interval, or None.
    """

    kernels: KernelModel
    composition: Composition
    half_width: float | None = None

    def predict(self, graphs: Sequence[OperatorGraph], *, missing: str = "raise") -> Prediction:
        """Predict fused graphs.

        Args:
            graphs: what the target's runtime made of the networks.
            missing: `raise`, or `skip` to leave kernels out that the model has nothing to say about; the coverage then
                tells.

        Raises:
            MissingKernel: a kernel is unknown, the model has no fall-back, and `missing` is `raise`.
        """
        catalogue = tuple(dict.fromkeys(operator for graph in graphs for operator in graph.operators))
        index = {operator: i for i, operator in enumerate(catalogue)}
        counts = np.zeros((len(graphs), len(catalogue)))
        for row, graph in enumerate(graphs):
            for operator in graph.operators:
                counts[row, index[operator]] += 1
        return self.predict_counts(catalogue, counts, missing=missing)

    def predict_counts(
        self, catalogue: Sequence[Operator], counts: NDArray[np.float64], *, missing: str = "raise"
    ) -> Prediction:
        """Predict networks given how often each runs each kernel: `counts` is `(n, len(catalogue))`."""
        found = self.kernels.predict(catalogue)
        silent = ~np.isfinite(found.ms)
        if silent.any() and missing == "raise":
            names = [str(catalogue[int(i)]) for i in np.flatnonzero(silent & (counts.sum(axis=0) > 0))]
            if names:
                raise MissingKernel(
                    f"{len(names)} kernels were never measured on this device: {'; '.join(names[:3])}",
                    hint="Profile networks that have them, or use a predictor that generalises (lightgbm).",
                )
        ms = np.where(silent, 0.0, found.ms)
        sums = counts @ ms
        value = self.composition.apply(sums, (counts @ (~silent).astype(float)))
        per_kernel = float(np.median(ms[~silent])) if (~silent).any() else 1.0
        weight = np.where(silent, per_kernel, ms)
        total = counts @ weight
        known = counts @ (weight * (found.known & ~silent))
        coverage = np.divide(known, total, out=np.ones_like(total), where=total > 0)
        unknown = tuple(
            tuple(catalogue[int(j)].key for j in np.flatnonzero((row > 0) & ~found.known)) if coverage[i] < 1 else ()
            for i, row in enumerate(counts)
        )
        low = high = None
        if self.half_width is not None:
            # What stands on kernels never seen is believed three times less.
            half = self.half_width * (1.0 + 2.0 * (1.0 - coverage))
            low, high = value * np.maximum(1.0 - half, 0.0), value * (1.0 + half)
        return Prediction(value, low, high, "ms", coverage, unknown)


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
            guess = (
                _compose(model, networks.take(rest)).predict([networks.graphs[i] for i in held], missing="skip").value
            )
            errors.extend(np.abs(networks.ms[held] - guess) / guess)
    return NetworkModel(model, fitted.composition, intervals.relative_half_width(np.array(errors)))


def _compose(model: KernelModel, networks: NetworkSamples) -> NetworkModel:
    if not model.composed:
        return NetworkModel(model, Composition())
    sums, counts = [], []
    for graph in networks.graphs:
        ms = model.predict(graph.operators).ms
        sums.append(float(np.nansum(ms)))
        counts.append(float(np.isfinite(ms).sum()))
    return NetworkModel(model, composition.fit(np.array(sums), np.array(counts), networks.ms))
