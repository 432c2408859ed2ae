"""Networks walked block by block: costs where many genes decide what stands at a place, so that no table can tell it.

A block costs what its kernels cost on average in compiled networks that were cut apart. What it costs more or less for
what it reads and for what reads it (a layout that must change, a kernel that is fused into it) is a share of that,
learned by ridge regression from the same networks as wholes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from predictors.blocks.places import text
from predictors.blocks.table import GUESSED, guess
from predictors.network import NetworkModel
from predictors.prediction import Prediction
from profiler.assembly import INPUT, Assembly
from profiler.block_traces import Shapes

Floats = NDArray[np.float64]
Missing = tuple[tuple[str, ...], ...]

Bag = Counter[tuple[str, str]]
"""How often a network has each block where; the place is "" where it does not matter."""

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


def names(assembly: Assembly, shapes: Shapes) -> list[str]:
    """What each block is: its key, and the shapes that it reads."""
    return [text(b.key, read) for b, read in zip(assembly.blocks, shapes.inputs(assembly), strict=True)]


def bag(assembly: Assembly, shapes: Shapes) -> Bag:
    """A network as its blocks, each alone, with what it reads, and with what reads it."""
    keys = {INPUT: INPUT} | {block.name: block.key for block in assembly.blocks}
    readers: dict[str, set[str]] = {name: set() for name in keys}
    for block in assembly.blocks:
        for name in block.inputs:
            readers[name].add(block.key)
    found: Bag = Counter()
    for block, own in zip(assembly.blocks, names(assembly, shapes), strict=True):
        found[own, ""] += 1
        found[own, "reads " + ", ".join(keys[name] for name in block.inputs)] += 1
        found[own, "read by " + ", ".join(sorted(readers[block.name]))] += 1
    return found


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

    def walk(self, network: Bag) -> Walk:
        """A network, block by block."""
        totals, missing = np.zeros(self.columns.shape[1]), set[str]()
        for (block, place), count in network.items():
            if not place:
                number = self.blocks.get(block)
                totals += count * (self._guess if number is None else self.columns[number])
                missing |= {GUESSED} if number is None else set(self.missing[number])
        more = self.constant + sum(share * self.places.get(at, 0.0) for at, share in self._shares(network).items())
        return Walk(totals, tuple(sorted(missing)), min(max(more, self.least), self.most))

    def predict(self, found: Sequence[Walk], model: NetworkModel) -> Prediction:
        """What a model says of networks that were walked."""
        totals = np.array([walk.totals for walk in found]).reshape(len(found), self.columns.shape[1])
        plain = model.of_totals(totals, tuple(walk.missing for walk in found))
        factor = 1.0 + np.array([walk.more for walk in found])
        low, high = (None if end is None else end * factor for end in (plain.low, plain.high))
        return Prediction(plain.value * factor, low, high, plain.unit, plain.coverage, plain.missing)

    def corrected(self, bags: Sequence[Bag], alone: Floats, model: NetworkModel) -> Walks:
        """With what blocks cost more where they stand, learned from networks and what they cost compiled alone, `(n,)`.

        Source: Hoerl and Kennard, "Ridge regression", Technometrics 12(1), 1970; the penalty by leaving one network
            out, Golub, Heath and Wahba, Technometrics 21(2), 1979.
        """
        from sklearn.linear_model import RidgeCV

        more = alone / self.predict([self.walk(one) for one in bags], model).value - 1.0
        seen = Counter(at for one in bags for at in one)
        number = {at: i for i, at in enumerate(at for at, count in seen.items() if count >= _LEAST_SEEN)}
        rows = np.zeros((len(bags), len(number)))
        for row, one in zip(rows, bags, strict=True):
            for at, share in self._shares(one).items():
                if at in number:
                    row[number[at]] = share
        ridge = RidgeCV(alphas=_PENALTIES).fit(rows, more)
        places = {at: float(ridge.coef_[i]) for at, i in number.items()}
        least, most = float(more.min()), float(more.max())
        return replace(self, places=places, constant=float(ridge.intercept_), least=least, most=most)

    def _shares(self, one: Bag) -> dict[tuple[str, str], float]:
        """What blocks at places cost, of what all blocks do."""
        costs = {at: count * self._cost(at[0]) for at, count in one.items()}
        whole = sum(cost for (_, place), cost in costs.items() if not place)
        return {at: cost / whole for at, cost in costs.items()} if whole > 0 else {}

    def _cost(self, block: str) -> float:
        number = self.blocks.get(block)
        return float(self._guess[0] if number is None else self.columns[number, 0])

    @cached_property
    def _guess(self) -> Floats:
        return guess(self.columns)
