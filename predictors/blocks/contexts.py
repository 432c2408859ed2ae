"""What a block's kernels depend on besides the block: the finest that was seen to matter, and no more.

A runtime decides kernels and layouts by what lies next to a block. What crosses between two blocks is a state: the
block sees the state that is given to it and hands one on, and it asks something of the block before it. So a chain of
blocks is a finite automaton, learned from compiled networks: `step` gives the next state, `asks` what is asked of the
block before, `entries` the kernels by block, state, and what the next block asks. How finely states are told is found
from the data: the coarsest level at which no two compiled networks contradict each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.blocks.places import NotLocal
from profiler.cuts import LEVELS

Numbers = NDArray[np.int32]

#: Never seen.
UNSEEN = -1


@dataclass(frozen=True)
class Seen:
    """One block of a compiled network.

    Attributes:
        code: number of the block.
        given: by level, see `profiler.cuts.Use`.
        wanted: by level.
        kernels: how often it runs each kernel, by number.
    """

    code: int
    given: tuple[str, ...]
    wanted: tuple[str, ...]
    kernels: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Contexts:
    """The automaton.

    Attributes:
        level: how finely what crosses is told, see `profiler.cuts`.
        start: the state that the first block is given.
        end: what is asked of the last block.
        step: `(blocks, states)`: the state that a block hands on, or `UNSEEN`.
        asks: `(blocks, states)`: what it asks of the block before.
        entries: `(blocks, states, asks)`: number of its kernels, or `UNSEEN`.
        kernels: of each entry.
        empty: `(blocks,)`: blocks that the runtime deletes, whose neighbours touch.
    """

    level: int
    start: int
    end: int
    step: Numbers
    asks: Numbers
    entries: Numbers
    kernels: tuple[tuple[tuple[int, int], ...], ...]
    empty: NDArray[np.bool_]


def learn(networks: Sequence[Sequence[Seen]], blocks: int, *, chained: bool) -> Contexts:
    """Learn from compiled networks.

    Args:
        networks: blocks of each, in order.
        blocks: number of distinct blocks.
        chained: whether each block reads the one before it and nothing else; else kernels must not depend on
            neighbours at all.

    Raises:
        NotLocal: kernels depend on more than what crosses to the neighbours.
    """
    said = ""
    for level in range(LEVELS if chained else 1):
        try:
            return _at(level, networks, blocks)
        except NotLocal as error:
            said = str(error)
    raise NotLocal(said)


def _at(level: int, networks: Sequence[Sequence[Seen]], blocks: int) -> Contexts:
    states, demands = _Numbers(), _Numbers()
    start, end = states.of(""), demands.of("")
    step: dict[tuple[int, ...], int] = {}
    asks: dict[tuple[int, ...], int] = {}
    entries: dict[tuple[int, ...], int] = {}
    kernels: dict[tuple[tuple[int, int], ...], int] = {}
    emptiness: dict[int, bool] = {}
    for network in networks:
        for seen in network:
            _agree(emptiness, seen.code, not seen.kernels)
        live = [seen for seen in network if seen.kernels]
        for i, seen in enumerate(live):
            state, demand = states.of(seen.given[level]), demands.of(seen.wanted[level])
            _agree(entries, (seen.code, state, demand), kernels.setdefault(seen.kernels, len(kernels)))
            following = live[i + 1].given[level] if i + 1 < len(live) else None
            before = live[i - 1].wanted[level] if i else None
            if following is not None:
                _agree(step, (seen.code, state), states.of(following))
            if before is not None:
                _agree(asks, (seen.code, state), demands.of(before))
            elif state != start:
                raise NotLocal("the first block reads what another writes")
        if live and demands.of(live[-1].wanted[level]) != end:
            raise NotLocal("another block reads what the last one writes")
    shape = (blocks, len(states.known))
    empty = np.zeros(blocks, dtype=np.bool_)
    empty[[code for code, deleted in emptiness.items() if deleted]] = True
    return Contexts(
        level,
        start,
        end,
        _filled(shape, step),
        _filled(shape, asks),
        _filled((*shape, len(demands.known)), entries),
        tuple(kernels),
        empty,
    )


class _Numbers:
    """Texts by number."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def of(self, text: str) -> int:
        return self.known.setdefault(text, len(self.known))


def _agree(known: dict[Any, Any], key: Any, value: Any) -> None:
    if known.setdefault(key, value) != value:
        raise NotLocal(f"compiled networks contradict each other: {key} has {known[key]} and {value}")


def _filled(shape: tuple[int, ...], known: dict[tuple[int, ...], int]) -> Numbers:
    found = np.full(shape, UNSEEN, dtype=np.int32)
    for place, value in known.items():
        found[place] = value
    return found


def counted(kernels: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Kernels by number and how often each, in order."""
    return tuple(sorted(Counter(kernels).items()))
