"""How far a kernel model is believed about kernels that it has not seen, learned from kernels left out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors import intervals
from predictors.models.protocol import Floats, KernelPrediction, KernelSamples, MakeKernelModel
from profiler.operators import Operator

#: Folds over groups of kernels, and folds over kinds.
FOLDS = 5
KIND_FOLDS = 3
#: Fewest kernels that tell how wrong a guess is; with fewer a guess may be off by a factor of e.
LEAST_KERNELS = 12
#: A guess is never believed better than this, in the log of the cost.
LEAST = 0.1


@dataclass(frozen=True)
class Doubt:
    """Half-widths of 90 % intervals of single kernels, in the log of the cost, for a spread of 1.

    Attributes:
        kinds: kinds of kernels that were measured.
        same_kind: of a kernel of one of these kinds that was not measured itself.
        other_kind: of a kernel of any other kind; never less.
        shared: how much of the kernels' half-widths a network keeps, in 0..1: 1 if all kernels err together.
    """

    kinds: frozenset[str] = frozenset()
    same_kind: float = 1.0
    other_kind: float = 1.0
    shared: float = 1.0

    def half_widths(self, operators: tuple[Operator, ...], found: KernelPrediction) -> Floats:
        """Relative half-width of each kernel's 90 % interval upwards, `(k,)`."""
        spread = np.ones(len(operators)) if found.spread is None else found.spread
        same = np.array([operator.kind in self.kinds for operator in operators], dtype=np.bool_)
        return np.asarray(np.expm1(np.minimum(np.where(same, self.same_kind, self.other_kind) * spread, 3.0)))


@dataclass(frozen=True)
class LeftOut:
    """A kernel model that did not see some kernels.

    Attributes:
        rows: which of the samples it did not see.
        found: what it predicts of them.
    """

    rows: NDArray[np.int64]
    found: KernelPrediction


def learn(make: MakeKernelModel, samples: KernelSamples) -> tuple[Doubt, tuple[LeftOut, ...]]:
    """Half-widths from kernels left out by groups and by kinds, and the predictions of the groups.

    Kernels of one kind and equal shapes are one group, so that none is judged beside its twin. Where the model's own
    spreads tell kernels apart, the half-width is in units of them (normalised split-conformal).

    Source: Lei et al., "Distribution-free predictive inference for regression", JASA 113, 2018, sections 2.2 and 5.2.

    Args:
        make: the kernel model's class.
        samples: all measured kernels.

    Returns:
        `Doubt` with `shared` of 1, which only networks can tell, and the folds over groups; none with too few kernels.
    """
    kinds = frozenset(operator.kind for operator in samples.operators)
    if len(samples.operators) < LEAST_KERNELS:
        return Doubt(kinds), ()
    folds = tuple(_left_out(make, samples, _groups(samples, FOLDS)))
    same = _quantile(samples, folds)
    by_kind = tuple(_left_out(make, samples, _kind_folds(samples)))
    other = max(_quantile(samples, by_kind) if len(kinds) >= KIND_FOLDS else 1.0, same)
    return Doubt(kinds, same, other), folds


def group(operator: Operator) -> str:
    """Kernels of one group are twins: the same kind and the same shapes, whatever their attributes."""
    shapes = [tensor.shape for tensor in (*operator.inputs, *operator.outputs) if tensor is not None]
    return f"{operator.kind}{shapes}"


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
