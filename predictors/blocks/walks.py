"""Networks walked block by block: costs where many genes decide what stands at a place, so that no table can tell it.

A block costs what its kernels cost on average in compiled networks that were cut apart. What it costs more or less for
what it reads and for what reads it (a layout that must change, a kernel that is fused into it) is a share of that,
learned by ridge regression from the same networks as wholes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from predictors.blocks import ridge
from predictors.blocks.bags import ALONE, Bags
from predictors.blocks.study import Study
from predictors.blocks.table import GUESSED, guess
from predictors.network import Additive, NetworkModel
from predictors.prediction import Prediction

Floats = NDArray[np.float64]
Missing = tuple[tuple[str, ...], ...]

#: Strengths of the ridge penalty that are tried; shares of networks are at most 1.
_PENALTIES = tuple(10.0**exponent for exponent in np.arange(-5.0, 1.5, 0.5))
#: Networks that must have a block at a place before it is told from others there.
_LEAST_SEEN = 2


@dataclass(frozen=True)
class Walk:
    """What a network adds up to.

    Attributes:
        totals: `(q,)`, over its blocks.
        missing: keys of kernels that are not fully known.
        more: what it costs more than its blocks alone, as a share.
    """

    totals: Floats
    missing: tuple[str, ...]
    more: float


@dataclass(frozen=True)
class Walks:
    """What blocks cost, and what they cost more where they stand.

    Attributes:
        blocks: numbers of blocks in `columns`.
        columns: `(b, q)`, sums over a block's kernels as in `predictors.network.Additive`, means of compiled networks.
        missing: for each block the keys of kernels that are not fully known.
        places: what a block at a place costs more, as a share of its own cost.
        constant: the same of any network.
        least: least correction of a compiled network, as a share; no other network is corrected by less.
        most: largest.
    """

    blocks: dict[str, int]
    columns: Floats
    missing: Missing
    places: dict[tuple[str, str], float]
    constant: float = 0.0
    least: float = 0.0
    most: float = 0.0

    @staticmethod
    def of(study: Study, shares: Additive) -> Walks:
        """What blocks cost on average in the networks of a study that are learned from.

        Args:
            study: of a space.
            shares: what each of its kernels adds, in order.
        """
        standing = np.flatnonzero(study.stands)
        columns = study.uses.times(shares.columns)[standing] / study.stands[standing, None]
        lacking = {number: study.kernels[number].key for number in np.flatnonzero(shares.unknown).tolist()}
        missing = tuple(
            tuple(sorted({lacking[kernel] for kernel in study.uses.row(block) if kernel in lacking})) if lacking else ()
            for block in standing.tolist()
        )
        names = study.networks.of.blocks
        return Walks({names[block]: number for number, block in enumerate(standing.tolist())}, columns, missing, {})

    def walk(self, networks: Bags) -> list[Walk]:
        """Networks, block by block."""
        spots = self._spots(networks)
        totals = networks.counts.times(np.where(spots.alone[:, None], spots.columns, 0.0))
        extra = networks.counts.times(spots.columns[:, 0] * spots.shares)
        whole = totals[:, 0]
        more = self.constant + np.divide(extra, whole, out=np.zeros_like(whole), where=whole > 0)
        more = np.clip(more, self.least, self.most)
        missing = _missing(networks, spots.missing)
        return [Walk(*one) for one in zip(totals, missing, more.tolist(), strict=True)]

    def predict(self, found: Sequence[Walk], model: NetworkModel) -> Prediction:
        """What a model says of networks that were walked."""
        totals = np.array([walk.totals for walk in found]).reshape(len(found), self.columns.shape[1])
        plain = model.of_totals(totals, tuple(walk.missing for walk in found))
        return plain.times(1.0 + np.array([walk.more for walk in found]))

    def corrected(self, networks: Bags, alone: Floats, model: NetworkModel) -> Walks:
        """With what blocks cost more where they stand, learned from networks and what these cost compiled, `(n,)`."""
        counts = networks.counts
        more = alone / self.predict(self.walk(networks), model).value - 1.0
        spots = self._spots(networks)
        costs = spots.columns[:, 0]
        whole = counts.times(np.where(spots.alone, costs, 0.0))
        each = np.repeat(np.where(whole > 0, whole, np.inf), np.diff(counts.starts))
        rows = counts.matrix(counts.counts * costs[counts.numbers] / each, len(costs))
        seen = np.flatnonzero(np.bincount(counts.numbers, minlength=len(costs)) >= _LEAST_SEEN)
        shares, constant = ridge.fit(rows[:, seen], more, _PENALTIES)
        of = networks.of
        places = {
            (of.blocks[of.owners[spot]], of.places[spot]): share
            for spot, share in zip(seen.tolist(), shares.tolist(), strict=True)
        }
        return replace(self, places=places, constant=constant, least=float(more.min()), most=float(more.max()))

    def _spots(self, networks: Bags) -> _Spots:
        """What is known of the spots of networks, by their numbers there."""
        of = networks.of
        met = np.flatnonzero(np.bincount(networks.counts.numbers, minlength=len(of.places)))
        found = _Spots(
            np.zeros(len(of.places), dtype=np.bool_),
            np.zeros((len(of.places), self.columns.shape[1])),
            np.zeros(len(of.places)),
            {},
        )
        for spot in met.tolist():
            block, place = of.blocks[of.owners[spot]], of.places[spot]
            number = self.blocks.get(block)
            found.columns[spot] = self._guess if number is None else self.columns[number]
            found.shares[spot] = self.places.get((block, place), 0.0)
            if place == ALONE:
                found.alone[spot] = True
                lacking = (GUESSED,) if number is None else self.missing[number]
                if lacking:
                    found.missing[spot] = lacking
        return found

    @cached_property
    def _guess(self) -> Floats:
        return guess(self.columns)


@dataclass(frozen=True)
class _Spots:
    """What is known of spots.

    Attributes:
        alone: whether a spot is a block without its place, `(s,)`.
        columns: of its block, `(s, q)`.
        shares: what it costs more, as a share of its block, `(s,)`.
        missing: keys of kernels that are not fully known, of those that are alone and have some.
    """

    alone: NDArray[np.bool_]
    columns: Floats
    shares: Floats
    missing: dict[int, tuple[str, ...]]


def _missing(networks: Bags, lacking: dict[int, tuple[str, ...]]) -> Missing:
    """Of each network the keys that its spots lack."""
    found: list[tuple[str, ...]] = [()] * len(networks)
    if lacking:
        where = np.isin(networks.counts.numbers, list(lacking))
        rows = np.repeat(np.arange(len(networks)), np.diff(networks.counts.starts))
        for row in np.unique(rows[where]).tolist():
            found[row] = tuple(sorted({key for spot in networks.counts.row(row) for key in lacking.get(spot, ())}))
    return tuple(found)
