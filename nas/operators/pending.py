"""Strategies that know nothing of what is out for evaluation are asked for more, and what is out is dropped."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Archs, Costs
from nas.operators.protocol import Problem, Strategy
from nas.operators.seen import Seen


def takes_pending(strategy: Any) -> bool:
    """Whether its `ask` has the argument `pending`."""
    try:
        parameters = inspect.signature(strategy.ask).parameters
    except (TypeError, ValueError):  # of what is not written in Python
        return False
    return "pending" in parameters or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())


def with_pending(strategy: Strategy, problem: Problem) -> Strategy:
    """The strategy itself if it takes `pending`, else one around it that does; all else of it is reached as before."""
    return strategy if takes_pending(strategy) else Dropping(strategy, problem)


def inner(strategy: Any) -> Any:
    """What a strategy is without `with_pending` around it: whose it is, is asked of that."""
    return strategy._strategy if isinstance(strategy, Dropping) else strategy


class Dropping:
    """A strategy around one whose `ask` has no `pending`.

    That one is asked for as many rows more as are out, and rows that are out are dropped from what it gave. So fewer
    rows than were wanted still mean that the space is exhausted.
    """

    def __init__(self, strategy: Any, problem: Problem) -> None:
        self._strategy = strategy
        self._seen = Seen(problem)

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """Up to `n` rows, `(<=n, d)`, of which none is out."""
        out = self._seen.out(pending)
        if not out:
            found: Archs = self._strategy.ask(n)
            return found
        rows = np.asarray(self._strategy.ask(n + len(out)))
        if len(rows) == 0:
            return rows
        free = np.array([key not in out for key in self._seen.keys(rows)], dtype=np.bool_)
        return rows[free][:n]

    def tell(self, archs: Archs, costs: Costs, violations: NDArray[np.float64] | None = None) -> None:
        """Pass it on."""
        self._strategy.tell(archs, costs, *(() if violations is None else (violations,)))

    def __getattr__(self, name: str) -> Any:
        if name == "_strategy":  # not made yet: a copy of it asks for this
            raise AttributeError(name)
        return getattr(self._strategy, name)

    def __repr__(self) -> str:
        return repr(self._strategy)
