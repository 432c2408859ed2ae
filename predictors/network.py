"""From kernel costs to networks: a kernel model, a composition, and an interval calibrated on networks left out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import MissingKernel
from predictors import composition, intervals, samples
from predictors.composition import Composition
from predictors.models.protocol import KernelModel, KernelPrediction, KernelSamples, MakeKernelModel
from predictors.prediction import UNITS, Prediction, check_missing
from predictors.samples import NetworkSamples
from predictors.sealed import check_numbers, read_json, understood
from predictors.streaming import Streaming, weights_of
from predictors.unseen import LeftOut, UnseenErrors
from predictors.unseen import learn as learn_unseen
from profiler.operators import Operator, OperatorGraph

if TYPE_CHECKING:
    from profiler.catalogue import Catalogue

Floats = NDArray[np.float64]

#: Version of `network.json`. 1: first (2026-11). 2: what is unknown by its work, kinds never seen by their tail. 3:
#: weights that no cache keeps; a file of version 2 has none.
_SCHEMA, _BEFORE = "hwnas.network/3", "hwnas.network/2"

#: Folds of the cross-validation that calibrates the interval.
FOLDS = 10


@dataclass(frozen=True)
class Additive:
    """What each of some kernels adds to the prediction of a network that runs it.

    Attributes:
        columns: `(k, q)`: its cost, 1, its known cost, what may be unknown, its half-width where it is guessed, and of
            each kind that was never seen its cost.
        unknown: `(k,)`, which are not fully known.
    """

    columns: Floats
    unknown: NDArray[np.bool_]


@dataclass(frozen=True)
class NetworkModel:
    """Predicts networks from their kernels.

    Attributes:
        kernels: costs of kernels.
        composition: from kernels to a network.
        half_width: relative half-width of the 90 % interval where all kernels were measured, or None.
        unseen_errors: how wrong kernels may be that were not.
        extra: by a kernel's key, what measured networks say of it beyond its own cost
            (`composition.kernel_extras`); it has a key for every kernel that the measured networks run.
        unit: `ms` or `mJ`.
        streaming: what networks take for weights that no cache keeps, where `kernels` tells costs without that.
    """

    kernels: KernelModel
    composition: Composition
    half_width: float | None = None
    unseen_errors: UnseenErrors = field(default_factory=UnseenErrors)
    extra: Mapping[str, float] = field(default_factory=dict)
    unit: str = "ms"
    streaming: Streaming = field(default_factory=Streaming)

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

    def predict_catalogue(self, catalogue: Catalogue) -> Prediction:
        """Predict all networks of a catalogue, in order."""
        return self.predict_counts(catalogue.kernels, catalogue.counts.astype(np.float64))

    def idle(self, catalogue: Catalogue) -> float:
        """The constant, but no less than the cheapest kernel."""
        cheapest = self.kernels.predict(catalogue.kernels).cost.min(initial=np.inf) if catalogue.kernels else 1e-6
        return max(self.composition.constant, float(cheapest))

    def save(self, folder: Path) -> None:
        """Write the kernel model's files and `network.json`."""
        self.kernels.save(folder)
        data = {
            "schema": _SCHEMA,
            "unit": self.unit,
            "composition": [self.composition.scale, self.composition.per_kernel, self.composition.constant],
            "half_width": self.half_width,
            "doubt": self.unseen_errors.to_plain(),
            "extra": dict(self.extra),
            "streaming": self.streaming.to_plain(),
        }
        (folder / "network.json").write_text(json.dumps(data, indent=1))

    def predict_counts(self, catalogue: Sequence[Operator], counts: NDArray[np.float64]) -> Prediction:
        """Predict networks given how often each runs each kernel: `counts` is `(n, len(catalogue))`."""
        catalogue = tuple(catalogue)
        shares = self.additive(catalogue)
        totals = np.stack([counts @ np.ascontiguousarray(column) for column in shares.columns.T], axis=1)
        missing = tuple(
            tuple(catalogue[int(j)].key for j in np.flatnonzero((row > 0) & shares.unknown)) for row in counts
        )
        found = self.of_totals(totals, missing)
        if not self.streaming.ms_per_byte:
            return found
        return found.times(1.0 + self.streaming.ms(_weights(catalogue, counts)) / found.value)

    def additive(self, catalogue: Sequence[Operator]) -> Additive:
        """What kernels add to a network's prediction: all of it is a function of sums over kernels."""
        catalogue = tuple(catalogue)
        found = self.kernels.predict(catalogue)
        cost = self.kernel_costs(catalogue, found)
        shares = self.unseen_errors.shares(catalogue, found)
        known = cost * shares
        half = self.unseen_errors.half_widths(catalogue, found)
        guessed, strange = self.unseen(catalogue), ~self.unseen_errors.seen(catalogue)
        columns = [
            cost,
            np.ones(len(catalogue)),
            known,
            self.unseen_errors.possible(catalogue, cost) * (1.0 - shares),
            cost * half * (guessed & ~strange),
        ]
        kinds = np.array([operator.kind for operator in catalogue])
        columns += [cost * (strange & (kinds == kind)) for kind in np.unique(kinds[strange])]
        return Additive(np.stack(columns, axis=1), shares < 1.0)

    def of_totals(self, totals: Floats, missing: tuple[tuple[str, ...], ...]) -> Prediction:
        """Predictions of networks from the sums over their kernels.

        Errors of kernels of known kinds partly cancel (`UnseenErrors.shared`). A strange kind's kernels err together,
        and two strange kinds independently.

        Args:
            totals: `(n, q)`, sums of `Additive.columns`.
            missing: for each network the keys of kernels that are not fully known.
        """
        total, count, known, unknown, guess = totals[:, :5].T
        value = self.composition.apply(total, count)
        whole = known + unknown
        coverage = np.divide(known, whole, out=np.ones_like(whole), where=whole > 0)
        one = np.maximum(total, np.finfo(np.float64).tiny)
        same = self.unseen_errors.shared * guess / one
        strange = totals[:, 5:] / one[:, None]
        more = np.sqrt(((strange * np.expm1(self.unseen_errors.other_kind)) ** 2).sum(axis=1))
        less = np.sqrt(((strange * -np.expm1(-self.unseen_errors.other_less)) ** 2).sum(axis=1))
        kept = 1.0 - (1.0 - np.minimum(less, 1.0)) / (1.0 + same)
        low, high = intervals.around(value, self.half_width, same + more, kept)
        return Prediction(value, low, high, self.unit, coverage, missing)

    def kernel_costs(self, catalogue: Sequence[Operator], found: KernelPrediction) -> Floats:
        """Costs of kernels with what measured networks say of them, `(k,)`."""
        extra = np.array([self.extra.get(operator.key, 0.0) for operator in catalogue])
        return np.asarray(np.maximum(found.cost + extra, 0.1 * found.cost))

    def unseen(self, catalogue: Sequence[Operator]) -> NDArray[np.bool_]:
        """Which kernels no measured network runs, `(k,)`: the interval has yet to reckon with their errors."""
        return np.array([operator.key not in self.extra for operator in catalogue], dtype=np.bool_)


def load(folder: Path, make: MakeKernelModel) -> NetworkModel:
    """Read what `NetworkModel.save` wrote.

    Raises:
        SchemaMismatch: the files are missing, damaged, or of another schema.
    """
    path = folder / "network.json"
    remedy = "Fit the predictor again."
    data = read_json(path, _SCHEMA, remedy, older=(_BEFORE,))
    with understood(f"cannot read {path}", remedy):
        half_width, believed, extra = data["half_width"], data["doubt"], data["extra"]
        check_numbers("composition", data["composition"], 3)
        if half_width is not None:
            check_numbers("half_width", (half_width,), 1, least=0.0)
        check_numbers("extra", tuple(extra.values()), len(extra))
        if data["unit"] not in UNITS.values():
            raise ValueError(f"unit is {data['unit']!r}")
        return NetworkModel(
            kernels=make.load(folder),
            composition=Composition(*data["composition"]),
            half_width=half_width,
            unseen_errors=UnseenErrors.from_plain(believed),
            extra=extra,
            unit=data["unit"],
            streaming=Streaming.from_plain(data.get("streaming")),
        )


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


def fit(
    make: MakeKernelModel,
    kernels: KernelSamples,
    networks: NetworkSamples,
    *,
    sure: bool = True,
    streams: bool | None = None,
) -> NetworkModel:
    """Fit kernels and composition on all networks, and the interval on networks and kernels left out in turn.

    Args:
        make: the kernel model's class.
        kernels: measured kernels.
        networks: measured networks; without any the composition is the plain sum and there is no interval.
        sure: whether to calibrate intervals; without, there are none, and the fit is several times faster.
        streams: whether to tell what is taken for weights that no cache keeps; if None, where no network is of a
            space. Those of one are alike, and what is said of them is to be a sum over kernels.
    """
    samples.require_costs(networks)
    if streams is None:
        streams = getattr(make, "composed", True) and not any(networks.spaces)
    streaming = kernels.streaming if streams else Streaming()
    if streaming.ms_per_byte:
        weights = _weights(*kernel_counts(networks.graphs))
        if streaming.holds(networks.cost, weights):
            kernels = kernels.in_cache()
            networks = replace(networks, cost=streaming.without(networks.cost, weights, weights))
        else:
            streaming = Streaming()
    model = make.fit(kernels)
    fitted = replace(compose(model, networks, kernels.unit), streaming=streaming)
    if not sure:
        return fitted
    errors: list[float] = []
    count = len(networks.ids)
    for fold in range(min(FOLDS, count)):
        held = [i for i in range(count) if i % FOLDS == fold]
        rest = [i for i in range(count) if i % FOLDS != fold]
        if rest:
            guess = compose(model, networks.take(rest), kernels.unit).predict([networks.graphs[i] for i in held]).value
            errors.extend(np.abs(networks.cost[held] - guess) / guess)
    width = intervals.relative_half_width(np.array(errors))
    fitted = replace(fitted, half_width=width)
    believed, folds = learn_unseen(make, kernels)
    shared = _shared(fitted, believed, folds, kernels, networks)
    return replace(
        fitted,
        half_width=intervals.repeated(width, networks.repeats),
        unseen_errors=replace(believed, shared=shared),
    )


def _weights(catalogue: Sequence[Operator], counts: Floats) -> Floats:
    """Bytes of weights of networks, `(n,)`, from how often each runs each kernel."""
    return np.asarray(counts @ np.array([weights_of(operator) for operator in catalogue]))


def _shared(
    fitted: NetworkModel,
    believed: UnseenErrors,
    folds: tuple[LeftOut, ...],
    kernels: KernelSamples,
    networks: NetworkSamples,
) -> float:
    """How much of the half-widths of guessed kernels the networks need, from networks with kernels guessed.

    The 90 % quantile of the error beyond `half_width`, over the summed half-widths of the kernels: with the kernels of
    one fold guessed, and with all of them, each by a model that did not see it; the larger of the two. 1 if there are
    too few networks to tell.
    """
    catalogue, counts = kernel_counts(networks.graphs)
    if fitted.half_width is None or not catalogue:
        return 1.0
    place = {operator.key: i for i, operator in enumerate(catalogue)}
    own = fitted.kernel_costs(catalogue, fitted.kernels.predict(catalogue))
    whole_cost, whole_half = own.copy(), np.zeros(len(catalogue))
    by_fold: list[float] = []
    for part in folds:
        costs, half = own.copy(), np.zeros(len(catalogue))
        operators = tuple(kernels.operators[i] for i in part.rows)
        widths = believed.half_widths(operators, part.found)
        for operator, cost, width in zip(operators, part.found.cost, widths, strict=True):
            at = place.get(operator.key)
            if at is not None:
                costs[at], half[at] = cost, width
                whole_cost[at], whole_half[at] = cost, width
        by_fold.extend(_beyond(fitted, networks, counts, costs, half))
    scores = (np.array(by_fold), np.array(_beyond(fitted, networks, counts, whole_cost, whole_half)))
    found = [width for width in map(intervals.relative_half_width, scores) if width is not None]
    return float(min(max(*found, 0.05), 1.0)) if found else 1.0


def _beyond(fitted: NetworkModel, networks: NetworkSamples, counts: Floats, costs: Floats, half: Floats) -> list[float]:
    """Errors beyond `half_width` of networks with guessed kernels, in units of these kernels' half-widths.

    The two are independent, so their squares are subtracted; intervals add them, which is on the safe side.
    """
    total = counts @ costs
    guessed = counts @ (costs * half) / total
    value = fitted.composition.apply(total, counts.sum(axis=1))
    error = (networks.cost - value) / value
    beyond = np.sqrt(np.maximum(error**2 - (fitted.half_width or 0.0) ** 2, 0.0))
    return [float(score) for score in beyond[guessed > 0] / guessed[guessed > 0]]


def compose(model: KernelModel, networks: NetworkSamples, unit: str) -> NetworkModel:
    """Fit what sums of kernels miss, and leave intervals out."""
    catalogue, counts = kernel_counts(networks.graphs)
    if not model.composed:
        return NetworkModel(model, Composition(), extra=dict.fromkeys((op.key for op in catalogue), 0.0), unit=unit)
    cost = model.predict(catalogue).cost
    fitted = composition.fit(counts @ cost, counts.sum(axis=1), networks.cost, networks.call)
    extra = composition.kernel_extras(fitted, counts, cost, networks.cost)
    known = {operator.key: float(x) for operator, x in zip(catalogue, extra, strict=True)}
    return NetworkModel(model, fitted, extra=known, unit=unit)


def kernel_counts(graphs: Sequence[OperatorGraph]) -> tuple[tuple[Operator, ...], Floats]:
    """Distinct kernels of networks, and how often each network runs each, `(n, k)`."""
    index: dict[Operator, int] = {}
    flat = [index.setdefault(operator, len(index)) for graph in graphs for operator in graph.operators]
    rows = np.repeat(np.arange(len(graphs)), [len(graph.operators) for graph in graphs])
    shape = (len(graphs), len(index))
    counts = np.bincount(rows * shape[1] + np.array(flat, dtype=np.int64), minlength=shape[0] * shape[1])
    return tuple(index), counts.reshape(shape).astype(np.float64)
