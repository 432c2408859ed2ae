"""What a strategy has seen: no network is asked for twice, and the last unseen ones are found."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.operators import descent
from nas.operators.listed import Listed
from nas.operators.protocol import Problem
from predictors import genes
from predictors.genes import whole

#: Spaces up to this size can be enumerated when random draws find nothing new.
ENUMERABLE = 1_000_000
#: Rounds of random genomes, twice as many as are wanted, before a small space is enumerated or of a large one drawn on.
DRAWS = 100
#: A larger space counts as exhausted when of so many random genomes in a row none is a network that is new.
MISSES = 1_000_000
#: Genomes that are then drawn at once.
_CHUNK = 16_384
#: Rows of a list that are looked at together.
_ROWS = 1_024
#: Networks from which bounds are approached in a large space, at least.
_STARTS = 64


class Seen:
    """Networks that were told, by canonical form.

    Where the problem bounds known costs (`Problem.excess`), what breaks a bound comes only from `unseen` and
    `offspring`, and only where nothing else is left.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._keys: set[bytes] = set()
        self._places: dict[bytes, list[int]] = {}
        if problem.listed is not None:
            for place, key in enumerate(self.keys(problem.listed.rows)):
                self._places.setdefault(key, []).append(place)

    def __len__(self) -> int:
        return len(self._keys)

    def knows(self, key: bytes) -> bool:
        """Whether a network of this key was told."""
        return key in self._keys

    def keys(self, archs: Archs) -> list[bytes]:
        """One key for each row of `(n, d)`; equal keys are the same network."""
        rows = np.ascontiguousarray(
            archs if self._problem.canonical is None else self._problem.canonical(archs), dtype=np.int64
        )
        raw, width = rows.tobytes(), rows.shape[1] * 8
        return [raw[i : i + width] for i in range(0, len(raw), width)]

    def add(self, archs: Archs) -> None:
        """Remember rows, `(n, d)`."""
        self._keys.update(self.keys(archs))

    def out(self, pending: Archs | None) -> set[bytes]:
        """Keys of what is out for evaluation, `(p, d)`: an ask begins with them as `taken`, and nothing else has them.

        A new set each time, empty where nothing is out.

        Raises:
            UsageError: they are no rows of the problem's genes.
        """
        if pending is None:
            return set()
        rows = whole(pending)
        if rows.size == 0:
            return set()
        if rows.ndim != 2 or rows.shape[1] != len(self._problem.choices):
            raise UsageError(
                f"pending must be rows of {len(self._problem.choices)} genes, (p, {len(self._problem.choices)}), "
                f"got {rows.shape}"
            )
        return set(self.keys(rows))

    def fresh(self, archs: Archs, taken: set[bytes]) -> NDArray[np.int64]:
        """Indices `(k,)` of rows that are valid, keep bounds, were not seen, and are not in `taken`, which they join.

        The first of equal rows wins.
        """
        if len(archs) == 0:
            return np.empty(0, dtype=np.int64)
        return self._new(archs, self._problem.fits(archs), taken)

    def unseen(self, count: int, rng: np.random.Generator, taken: set[bytes], *, strict: bool = False) -> Archs:
        """Up to `count` random networks that were not seen, `(<=count, d)`.

        They join `taken`. Fewer mean that there are no more: small spaces are looked through as a whole, of large ones
        (above `ENUMERABLE`) genomes are drawn until `MISSES` in a row brought nothing. Networks that keep the bounds on
        known costs come first; in a large space in which draws do not find enough of them, they are approached in steps
        of one gene.

        Args:
            count: how many.
            rng: randomness.
            taken: keys that must not come; those that come join it.
            strict: nothing that breaks a bound, for what is only looked at.
        """
        listed = self._problem.listed
        parts = self._drawn(count, rng, taken) if listed is None else self._drawn_rows(listed, count, rng, taken)
        missing = count - sum(map(len, parts))
        if missing > 0 and listed is None:
            size = prod(self._problem.choices)
            rest = self._everything(size, rng) if size <= ENUMERABLE else self._drawn_on(missing, rng, taken)
            parts.append(self.first(rest, missing, taken))
            missing -= len(parts[-1])
        elif listed is not None:
            rest = listed.rows
        if missing > 0 and self._problem.excess is not None and not strict:
            parts.append(self._least_broken(rest, missing, taken))
        return np.concatenate(parts) if parts else np.empty((0, len(self._problem.choices)), dtype=np.int64)

    def offspring(
        self, count: int, rng: np.random.Generator, taken: set[bytes], make: Callable[[int], Archs] | None
    ) -> Archs:
        """Up to `count` networks that were not seen, `(<=count, d)`: children, then random ones where those run out.

        Args:
            count: how many.
            rng: of the random ones.
            taken: keys that must not come; those that come join it.
            make: gives about as many genomes as it is asked for; drawn from until 100 times were not enough. None
                where there are no parents.
        """
        parts: list[Archs] = []
        missing = count
        for _ in range(DRAWS if make is not None else 0):
            if missing <= 0:
                break
            assert make is not None
            children = make(max(missing + missing // 2, 4))
            parts.append(self.first(children, missing, taken))
            missing -= len(parts[-1])
        if missing > 0:
            parts.append(self.unseen(missing, rng, taken))
        return np.concatenate(parts) if parts else np.empty((0, len(self._problem.choices)), dtype=np.int64)

    def first(self, archs: Archs, count: int, taken: set[bytes]) -> Archs:
        """The first `count` rows of `(n, d)` that are valid, keep bounds, new and distinct; they join `taken`.

        Where genomes are listed, those that are not in the list stand for the nearest new ones that are.
        """
        if self._problem.listed is not None:
            archs = self._in_list(self._problem.listed, archs, taken)
        return self._first(archs, self.fresh(archs, taken), count, taken)

    def _new(self, archs: Archs, wanted: NDArray[np.bool_], taken: set[bytes]) -> NDArray[np.int64]:
        """Indices of the wanted rows that are new; they join `taken`."""
        found = []
        for index, key in enumerate(self.keys(archs)):
            if wanted[index] and key not in self._keys and key not in taken:
                taken.add(key)
                found.append(index)
        return np.array(found, dtype=np.int64)

    def _first(self, archs: Archs, fresh: NDArray[np.int64], count: int, taken: set[bytes]) -> Archs:
        """The first `count` of fresh rows; the others leave `taken`."""
        kept = archs[fresh]
        for key in self.keys(kept[count:]) if len(kept) > count else ():
            taken.discard(key)
        return kept[:count]

    def _drawn(self, count: int, rng: np.random.Generator, taken: set[bytes]) -> list[Archs]:
        """Up to `count` random networks, in parts of `(<=count, d)`, as long as draws find them."""
        choices = np.array(self._problem.choices, dtype=np.int64)
        parts: list[Archs] = []
        missing = count
        for _ in range(DRAWS):
            if missing <= 0:
                break
            drawn = rng.integers(0, choices, size=(max(2 * missing, 8), len(choices)))
            parts.append(self.first(drawn, missing, taken))
            missing -= len(parts[-1])
        return parts

    def _drawn_rows(self, listed: Listed, count: int, rng: np.random.Generator, taken: set[bytes]) -> list[Archs]:
        """Up to `count` random rows of a list, in parts of `(<=count, d)`."""
        rows, parts, missing = listed.rows[rng.permutation(len(listed))], [listed.rows[:0]], count
        for start in range(0, len(rows), _ROWS):
            if missing <= 0:
                break
            parts.append(self.first(rows[start : start + _ROWS], missing, taken))
            missing -= len(parts[-1])
        return parts

    def _in_list(self, listed: Listed, archs: Archs, taken: set[bytes]) -> Archs:
        """Rows `(n, d)`, of which those that are not listed become the nearest new one that is and keeps the bounds."""
        outside = ~listed.has(archs)
        if not outside.any():
            return archs
        new = self._fitting.copy()
        for key in (*self._keys, *taken):
            new[self._places.get(key, [])] = False
        among = np.flatnonzero(new)
        if len(among) == 0:
            return archs[~outside]
        found = np.array(archs, dtype=np.int64)
        found[outside] = listed.nearest(found[outside], among)
        return found

    @cached_property
    def _fitting(self) -> NDArray[np.bool_]:
        """Which rows of the list keep the bounds on known costs, `(k,)`."""
        assert self._problem.listed is not None
        return self._problem.fits(self._problem.listed.rows)

    def _everything(self, size: int, rng: np.random.Generator) -> Archs:
        """All genomes of a small space, in random order, `(size, d)`."""
        return genes.numbered(rng.permutation(size), self._problem.choices)

    def _drawn_on(self, count: int, rng: np.random.Generator, taken: set[bytes]) -> Archs:
        """At least `count` new networks of a large space, if there are so many, `(k, d)`.

        Where known costs are bounded, those come first that descent from these led to.
        """
        choices = np.array(self._problem.choices, dtype=np.int64)
        bounded = self._problem.excess is not None
        wanted = missing = max(count, _STARTS) if bounded else count
        parts, mine, misses = [np.empty((0, len(choices)), dtype=np.int64)], set(taken), 0
        while missing > 0 and misses < MISSES:
            drawn = rng.integers(0, choices, size=(_CHUNK, len(choices)))
            found = drawn[self._new(drawn, self._valid(drawn), mine)]
            parts.append(found)
            missing -= len(found)
            misses = 0 if len(found) else misses + _CHUNK
        rows = np.concatenate(parts)
        return np.concatenate([descent.descended(self._problem, rows[:wanted], rng), rows]) if bounded else rows

    def _least_broken(self, archs: Archs, count: int, taken: set[bytes]) -> Archs:
        """The `count` of `(n, d)` that are new and break bounds least, in that order."""
        rows = archs[self._valid(archs)]
        if len(rows) == 0:
            return rows
        assert self._problem.excess is not None
        rows = rows[np.argsort(self._problem.excess(rows), kind="stable")]
        return self._first(rows, self._new(rows, np.ones(len(rows), dtype=np.bool_), taken), count, taken)

    def _valid(self, archs: Archs) -> NDArray[np.bool_]:
        """Which rows are networks, `(n,)`."""
        if self._problem.valid is None or len(archs) == 0:
            return np.ones(len(archs), dtype=np.bool_)
        return self._problem.valid(archs)
