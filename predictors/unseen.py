"""How far a kernel model is believed about kernels that it has not seen, learned from kernels left out.

Kernels of a kind that was seen are judged by such kernels left out. A kind that was never seen is judged by whole kinds
left out: by what the worst of them really cost beyond the guess, since one strange kind can be most of a network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors import intervals
from predictors.features import family
from predictors.models.protocol import Floats, KernelPrediction, KernelSamples, MakeKernelModel
from predictors.sealed import check_numbers
from profiler import work
from profiler.operators import Operator

#: Folds over groups of kernels, and folds over kinds.
FOLDS = 5
KIND_FOLDS = 5
#: Fewest kernels that tell how wrong a guess is; with fewer a guess may be off by a factor of e.
LEAST_KERNELS = 12
#: Fewest kinds whose errors are the tail of all kinds; with fewer a guess may be off by a factor of e at least.
LEAST_KINDS = 9
#: A guess is never believed better than this, in the log of the cost.
LEAST = 0.1
#: Of kinds left out, this share may cost more than the interval says, and as many less.
TAIL = 0.05
#: A kernel may be so many times as large as the largest seen of its family before it counts as partly unknown: work
#: beyond what was seen is more of the same.
REACH = 8.0
#: A kind that was never seen may be so many times as slow as the median kind: products that use a tenth of what others
#: do; others done one element after another, where most are bound by memory.
SLOW_PRODUCT, SLOW = 10.0, 30.0
#: Kernels that move less say nothing of rates: it is their launch that takes time.
_LEAST_BYTES = 1 << 16
_WIDTHS = ("same_kind", "other_kind", "other_less", "shared")
#: No half-width is larger, in the log of the cost.
_LARGEST_LOG = 5.0


@dataclass(frozen=True)
class UnseenErrors:
    """Half-widths of 90 % intervals of single kernels, in the log of the cost, and what is unknown of them.

    Attributes:
        kinds: families of kernels that were measured (`features.family`); if none is told, all count as seen.
        same_kind: of a kernel of one of these that was not measured itself, for a spread of 1.
        other_kind: of a kernel of any other kind, upwards; never less.
        other_less: of the same, downwards.
        shared: how much of the half-widths of kernels of known kinds a network keeps, in 0..1: 1 if all err together.
        slowest: cost of one operation, of kernels that multiply, and of one byte, of others, that is reckoned with
            where a kind was never seen.
        largest: operations and bytes of the largest kernel of each family; a family that is not in it has no bound.
    """

    kinds: frozenset[str] = frozenset()
    same_kind: float = 1.0
    other_kind: float = 1.0
    other_less: float = 1.0
    shared: float = 1.0
    slowest: tuple[float, float] = (0.0, 0.0)
    largest: Mapping[str, float] = field(default_factory=dict)

    def half_widths(self, operators: Sequence[Operator], found: KernelPrediction) -> Floats:
        """Relative half-width of each kernel's 90 % interval upwards, `(k,)`; the further beyond reach the wider."""
        spread = np.ones(len(operators)) if found.spread is None else found.spread
        beyond = 1.0 + np.log(np.maximum(self._excess(operators), 1.0))
        logs = np.where(self.seen(operators), self.same_kind * spread * beyond, self.other_kind)
        return np.asarray(np.expm1(np.minimum(logs, _LARGEST_LOG)))

    def seen(self, operators: Sequence[Operator]) -> NDArray[np.bool_]:
        """Which kernels are of a family that was measured, `(k,)`."""
        return np.array([not self.kinds or family(op) in self.kinds for op in operators], dtype=np.bool_)

    def shares(self, operators: Sequence[Operator], found: KernelPrediction) -> Floats:
        """How much of each kernel is known, `(k,)` in 0..1.

        All of one that the model knows, of a family that was seen, unless it is far larger than any of them: then as
        much as lies within reach. Nothing of any other.
        """
        known = found.known & self.seen(operators)
        return np.asarray(np.where(known, 1.0 / np.maximum(self._excess(operators), 1.0), 0.0))

    def possible(self, operators: Sequence[Operator], cost: Floats) -> Floats:
        """What kernels may cost, `(k,)`: by their work at a slow rate where nothing like them was seen."""
        per_operation, per_byte = self.slowest
        worst = np.array([_operations(op) * per_operation or work.bytes_moved(op) * per_byte for op in operators])
        return np.asarray(np.where(self.seen(operators), cost, np.maximum(cost, worst)))

    def to_plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {**asdict(self), "kinds": sorted(self.kinds), "slowest": list(self.slowest)}

    @staticmethod
    def from_plain(data: Mapping[str, Any]) -> UnseenErrors:
        """Read what `to_plain` made.

        Raises:
            ValueError: a number is none, or below 0.
            KeyError: one is missing.
        """
        widths, slowest, largest = [data[name] for name in _WIDTHS], data["slowest"], data["largest"]
        check_numbers("widths of doubt", widths, len(_WIDTHS))
        check_numbers("slowest", slowest, 2)
        check_numbers("largest", tuple(largest.values()), len(largest))
        if min((*widths, *slowest, *largest.values())) < 0 or widths[-1] > 1:
            raise ValueError(f"doubt must not be below 0, and 'shared' not above 1, got {data}")
        same, other, less, shared = map(float, widths)
        bounds = {str(name): float(bound) for name, bound in largest.items()}
        rates = (float(slowest[0]), float(slowest[1]))
        return UnseenErrors(frozenset(data["kinds"]), same, other, less, shared, rates, bounds)

    def _excess(self, operators: Sequence[Operator]) -> Floats:
        """Size over the largest size within reach, `(k,)`."""
        bounds = [self.largest.get(family(operator), np.inf) for operator in operators]
        return np.array([size(operator) for operator in operators]) / (REACH * np.maximum(bounds, 1.0))


@dataclass(frozen=True)
class LeftOut:
    """A kernel model that did not see some kernels.

    Attributes:
        rows: which of the samples it did not see.
        found: what it predicts of them.
    """

    rows: NDArray[np.int64]
    found: KernelPrediction


def learn(make: MakeKernelModel, samples: KernelSamples) -> tuple[UnseenErrors, tuple[LeftOut, ...]]:
    """Half-widths from kernels left out by groups and by kinds, and the predictions of the groups.

    Kernels of one kind and equal shapes are one group, so that none is judged beside its twin. Where the model's own
    spreads tell kernels apart, the half-width is in units of them (normalised split-conformal).

    Source: Lei et al., "Distribution-free predictive inference for regression", JASA 113, 2018, sections 2.2 and 5.2;
        whole kinds are left out as whole groups are in Dunn et al., "Distribution-free prediction sets for two-layer
        hierarchical models", JASA 118, 2023.

    Args:
        make: the kernel model's class.
        samples: all measured kernels.

    Returns:
        `UnseenErrors` with `shared` of 1, which only networks can tell, and the folds over groups; none with too few
        kernels.
    """
    seen = UnseenErrors(
        kinds=frozenset(family(operator) for operator in samples.operators),
        slowest=_slowest(samples),
        largest=_largest(samples),
    )
    if len(samples.operators) < LEAST_KERNELS:
        return seen, ()
    folds = tuple(_left_out(make, samples, _groups(samples, FOLDS)))
    same = _quantile(samples, folds)
    more, less = _tails(samples, tuple(_left_out(make, samples, _kind_folds(samples))))
    return replace(seen, same_kind=same, other_kind=max(more, same), other_less=max(less, same)), folds


def size(operator: Operator) -> float:
    """Operations and bytes of a kernel."""
    return float(_operations(operator) + work.elementwise(operator) + work.bytes_moved(operator))


def group(operator: Operator) -> str:
    """Kernels of one group are twins: the same kind and the same shapes, whatever their attributes."""
    shapes = [tensor.shape for tensor in (*operator.inputs, *operator.outputs) if tensor is not None]
    return f"{operator.kind}{shapes}"


def _operations(operator: Operator) -> float:
    return 2.0 * work.macs(operator)


def _largest(samples: KernelSamples) -> dict[str, float]:
    found: dict[str, float] = {}
    for operator in samples.operators:
        name = family(operator)
        found[name] = max(found.get(name, 0.0), size(operator))
    return found


def _slowest(samples: KernelSamples) -> tuple[float, float]:
    """Cost of an operation and of a byte that a strange kind may have, from those seen, each by its largest kernel."""
    largest: dict[str, int] = {}
    for row, operator in enumerate(samples.operators):
        kept = largest.setdefault(operator.kind, row)
        if work.bytes_moved(operator) > work.bytes_moved(samples.operators[kept]):
            largest[operator.kind] = row
    rates: tuple[list[float], list[float]] = ([], [])
    for row in largest.values():
        operator, cost = samples.operators[row], float(samples.cost[row])
        operations, moved = _operations(operator), work.bytes_moved(operator)
        if moved >= _LEAST_BYTES:
            rates[0 if operations else 1].append(cost / (operations or moved))
    slow = [
        max(_upper(np.array(found)), factor * float(np.median(found))) if found else 0.0
        for found, factor in zip(rates, (SLOW_PRODUCT, SLOW), strict=True)
    ]
    return slow[0], slow[1]


def _groups(samples: KernelSamples, folds: int) -> NDArray[np.int64]:
    """The fold of each kernel, by a digest of its group: the same whatever else is measured."""
    digests = [hashlib.sha256(group(operator).encode()).digest()[0] for operator in samples.operators]
    return np.array(digests, dtype=np.int64) % folds


def _kind_folds(samples: KernelSamples) -> NDArray[np.int64]:
    """The fold of each kernel by its kind; kinds are dealt out so that folds have about as many kernels."""
    kinds = [operator.kind for operator in samples.operators]
    load = [0] * KIND_FOLDS
    fold: dict[str, int] = {}
    for kind in sorted(set(kinds), key=lambda name: (-kinds.count(name), name)):
        fold[kind] = load.index(min(load))
        load[fold[kind]] += kinds.count(kind)
    return np.array([fold[kind] for kind in kinds], dtype=np.int64)


def _left_out(make: MakeKernelModel, samples: KernelSamples, fold: NDArray[np.int64]) -> Iterator[LeftOut]:
    for number in np.unique(fold):
        held, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if len(rest) >= LEAST_KERNELS - LEAST_KERNELS // 3:
            model = make.fit(samples.take(rest.tolist()))
            yield LeftOut(held, model.predict([samples.operators[i] for i in held]))


def _quantile(samples: KernelSamples, folds: tuple[LeftOut, ...]) -> float:
    """The 90 % quantile of log errors in units of the spread; 1 with too few to tell."""
    errors = [np.abs(np.log(samples.cost[part.rows] / part.found.cost)) for part in folds]
    spreads = [np.ones(len(part.rows)) if part.found.spread is None else part.found.spread for part in folds]
    if not errors:
        return 1.0
    width = intervals.relative_half_width(np.concatenate(errors) / np.concatenate(spreads))
    return 1.0 if width is None else max(width, LEAST)


def _tails(samples: KernelSamples, folds: tuple[LeftOut, ...]) -> tuple[float, float]:
    """How far above and below the guess whole kinds are that were left out: upper tails over kinds of the log."""
    logs = []
    for part in folds:
        kinds = np.array([samples.operators[row].kind for row in part.rows])
        for kind in np.unique(kinds):
            rows = kinds == kind
            logs.append(float(np.log(samples.cost[part.rows[rows]].sum() / part.found.cost[rows].sum())))
    least = 1.0 if len(logs) < LEAST_KINDS else 0.0
    if not logs:
        return 1.0, 1.0
    return max(_upper(np.array(logs)), least), max(_upper(-np.array(logs)), least)


def _upper(values: Floats) -> float:
    """The value that another of the same sort is above with a probability of `TAIL`; the largest with too few."""
    rank = min(int(np.ceil((len(values) + 1) * (1.0 - TAIL))), len(values))
    return float(np.sort(values)[rank - 1])
