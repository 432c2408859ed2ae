"""Bayesian linear kernel costs, from measured networks alone: no kernel needs to be profiled.

The baseline that few learned models beat; and what there is for costs that no runtime tells of single kernels, such
as energy.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidTable
from predictors import intervals
from predictors.features import roofline_ms
from predictors.models.protocol import DeviceFacts, KernelSamples
from predictors.network import kernel_counts, require_known
from predictors.prediction import UNITS, Prediction, check_missing
from predictors.samples import NetworkSamples, require_costs
from predictors.sealed import check_numbers, read_json, understood
from predictors.unseen import SLOW
from profiler.catalogue import Catalogue
from profiler.operators import Operator, OperatorGraph

Floats = NDArray[np.float64]

_SCHEMA = "hwnas.bayesian-linear/1"
_REMEDY = "Fit the predictor again."

LEAST_NETWORKS = 3
FOLDS = 10
#: Relative prior deviations that are tried: of kinds, of kernels within a kind, and of measurements.
KIND_ERRORS = (0.3, 1.0, 3.0)
KERNEL_ERRORS = (0.03, 0.1, 0.3)
NETWORK_ERRORS = (0.005, 0.02, 0.08)


@dataclass(frozen=True)
class BayesianLinear:
    """`cost = sum over kernels of count * (scale of its kind + its own) * roofline time`, all Gaussian.

    The prior mean is the roofline times one factor. Kinds of kernels deviate from it, and kernels within a kind; by how
    much is averaged over a grid, weighted by the evidence of each.

    Source: Bishop, "Pattern recognition and machine learning", 2006, sections 3.3 and 3.4.

    Attributes:
        device: speed of light.
        unit: `ms` or `mJ`.
        factor: of all kernels; of kinds and kernels that were never seen.
        kinds: factor by kind.
        kernels: factor by the kernel's key.
        half_width: relative half-width of the 90 % interval where all kernels were seen, or None.
    """

    costs: ClassVar[tuple[str, ...]] = ("latency", "energy")

    device: DeviceFacts
    unit: str
    factor: float
    kinds: dict[str, float] = field(default_factory=dict)
    kernels: dict[str, float] = field(default_factory=dict)
    half_width: float | None = None

    @staticmethod
    def fit(kernels: KernelSamples, networks: NetworkSamples, *, sure: bool = True) -> BayesianLinear:
        """Average over the grid; of `kernels` only the device's speed of light is used.

        Raises:
            InvalidTable: fewer than 3 networks, or a cost that is not positive and finite.
        """
        count = len(networks.ids)
        if count < LEAST_NETWORKS:
            raise InvalidTable(
                f"bayesian-linear needs at least {LEAST_NETWORKS} measured networks, got {count}",
                hint="Profile more networks.",
            )
        require_costs(networks)
        found = _fit(kernels.device, networks)
        if not sure:
            return found
        errors: list[float] = []
        for fold in range(min(FOLDS, count)):
            held = [i for i in range(count) if i % FOLDS == fold]
            rest = [i for i in range(count) if i % FOLDS != fold]
            if len(rest) >= LEAST_NETWORKS:
                guess = _fit(kernels.device, networks.take(rest)).predict([networks.graphs[i] for i in held]).value
                errors.extend(np.abs(networks.cost[held] - guess) / guess)
        width = intervals.relative_half_width(np.array(errors))
        return replace(found, half_width=intervals.repeated(width, networks.repeats))

    def predict(self, graphs: Sequence[OperatorGraph], *, missing: str = "guess") -> Prediction:
        """Predict fused graphs; see `GraphPredictor.predict`."""
        check_missing(missing)
        found = self._predict(*kernel_counts(graphs))
        if missing == "raise":
            require_known(found.missing)
        return found

    def predict_catalogue(self, catalogue: Catalogue) -> Prediction:
        """Predict all networks of a catalogue, in order."""
        return self._predict(catalogue.kernels, catalogue.counts.astype(np.float64))

    def idle(self, catalogue: Catalogue) -> float:
        """The cheapest kernel."""
        return float(min(self._costs(catalogue.kernels), default=1e-6))

    def save(self, folder: Path) -> None:
        """Write `bayesian-linear.json`."""
        data = {
            "schema": _SCHEMA,
            "unit": self.unit,
            "device": {"flops_per_s": self.device.flops_per_s, "bytes_per_s": self.device.bytes_per_s},
            "factor": self.factor,
            "kinds": self.kinds,
            "kernels": self.kernels,
            "half_width": self.half_width,
        }
        (folder / "bayesian-linear.json").write_text(json.dumps(data, indent=1))

    @staticmethod
    def load(folder: Path) -> BayesianLinear:
        """Read `bayesian-linear.json`.

        Raises:
            SchemaMismatch: it is missing, damaged, or of another schema.
        """
        path = folder / "bayesian-linear.json"
        data = read_json(path, _SCHEMA, _REMEDY)
        with understood(f"cannot read {path}", _REMEDY):
            check_numbers("factor", (data["factor"],), 1, least=sys.float_info.min)
            if data["half_width"] is not None:
                check_numbers("half_width", (data["half_width"],), 1, least=0.0)
            for name in ("kinds", "kernels"):
                check_numbers(name, tuple(data[name].values()), len(data[name]))
            if data["unit"] not in UNITS.values():
                raise ValueError(f"unit is {data['unit']!r}")
            device = DeviceFacts.from_plain(data["device"])
            return BayesianLinear(
                device, data["unit"], data["factor"], data["kinds"], data["kernels"], data["half_width"]
            )

    def _costs(self, operators: Sequence[Operator]) -> Floats:
        """Costs of kernels, never below a twentieth of what the common factor gives."""
        light = np.array([roofline_ms(operator, self.device) for operator in operators])
        factors = [self.kernels.get(op.key, self.kinds.get(op.kind, self.factor)) for op in operators]
        return np.asarray(light * np.maximum(factors, 0.05 * self.factor))

    def _predict(self, catalogue: Sequence[Operator], counts: Floats) -> Prediction:
        cost = self._costs(catalogue)
        value = np.maximum(counts @ cost, 1e-9)
        known = np.array([operator.kind in self.kinds for operator in catalogue], dtype=np.bool_)
        measured = np.array([operator.key in self.kernels for operator in catalogue], dtype=np.bool_)
        # What is unknown counts by what its work may cost, not by the guess.
        light = np.array([roofline_ms(operator, self.device) for operator in catalogue])
        seen = counts @ (cost * known)
        possible = counts @ (np.maximum(cost, SLOW * self.factor * light) * ~known)
        coverage = np.divide(seen, seen + possible, out=np.ones_like(seen), where=seen + possible > 0)
        missing = tuple(
            tuple(catalogue[int(j)].key for j in np.flatnonzero((row > 0) & ~known)) if coverage[i] < 1 else ()
            for i, row in enumerate(counts)
        )
        # A kernel of a known kind may be off by half; one of a kind that no network had, by a factor of e or more.
        guessed = counts @ (cost * np.where(measured, 0.0, np.where(known, 0.5, np.expm1(1.0)))) / value
        low, high = intervals.around(value, self.half_width, guessed)
        return Prediction(value, low, high, self.unit, coverage, missing)


PREDICTOR = BayesianLinear


def _fit(device: DeviceFacts, networks: NetworkSamples) -> BayesianLinear:
    catalogue, counts = kernel_counts(networks.graphs)
    light = np.array([roofline_ms(operator, device) for operator in catalogue])
    # Everything relative to the measured cost: each network then counts alike.
    work = counts * light / networks.cost[:, None]
    whole = work.sum(axis=1)
    factor = float(whole.sum() / (whole**2).sum())
    kinds = sorted({operator.kind for operator in catalogue})
    of_kind = np.array([[operator.kind == kind for operator in catalogue] for kind in kinds], dtype=np.float64)
    by_kind = work @ of_kind.T
    right = 1.0 - factor * whole
    together, alone = by_kind @ by_kind.T, work @ work.T
    evidence, shares = [], []
    for kind_error in KIND_ERRORS:
        for kernel_error in KERNEL_ERRORS:
            for network_error in NETWORK_ERRORS:
                prior = factor**2 * (kind_error**2 * together + kernel_error**2 * alone)
                covariance = prior + network_error**2 * np.eye(len(right))
                solved = np.linalg.solve(covariance, right)
                _, size = np.linalg.slogdet(covariance)
                evidence.append(-0.5 * (right @ solved + size))
                own = factor**2 * kind_error**2 * (by_kind.T @ solved)
                shares.append((own, factor**2 * kernel_error**2 * (work.T @ solved)))
    weight = np.exp(np.array(evidence) - max(evidence))
    weight /= weight.sum()
    kind_factor = factor + sum(w * own for w, (own, _) in zip(weight, shares, strict=True))
    kernel_extra = sum(w * extra for w, (_, extra) in zip(weight, shares, strict=True))
    number = {kind: i for i, kind in enumerate(kinds)}
    factors = [kind_factor[number[op.kind]] + extra for op, extra in zip(catalogue, kernel_extra, strict=True)]
    return BayesianLinear(
        device,
        networks.unit,
        factor,
        {kind: float(value) for kind, value in zip(kinds, kind_factor, strict=True)},
        {operator.key: float(value) for operator, value in zip(catalogue, factors, strict=True)},
    )
