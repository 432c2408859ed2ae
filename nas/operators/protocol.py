"""What a strategy is, and its written contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Archs, Costs
from nas.operators.listed import Listed


@dataclass(frozen=True)
class Problem:
    """What a strategy may know of a search before it starts.

    Attributes:
        choices: options per gene, `(d,)`.
        objectives: number of objectives, at least 1; all are costs, lower is better.
        known: objectives that cost nothing to know: column -> a function of `(n, d)` to `(n,)`.
        features: structural features of the space, `(n, d) -> (n, f)`, or None.
        canonical: `(n, d) -> (n, d)`, equal rows are the same network; None means that every genome is its own network.
        valid: `(n, d) -> (n,)` bool, or None where all genomes are networks.
        ordered: `(d,)`: whether the options of a gene are in an order (a width), so that near ones are alike; None
            means that all genes are categories.
        listed: the only genomes that there are, which `valid` says too; None where they are not listed.
        excess: by how much known costs break their bounds, `(n, d) -> (n,)`, 0 where they keep them, in the measure of
            the `violations` that are told; None where no known cost is bounded. One function, since bounds may be on
            either side of several costs, and only their sum has an order.
    """

    choices: tuple[int, ...]
    objectives: int
    known: Mapping[int, Callable[[Archs], NDArray[np.float64]]] = field(default_factory=dict)
    features: Callable[[Archs], NDArray[np.float64]] | None = None
    canonical: Callable[[Archs], Archs] | None = None
    valid: Callable[[Archs], NDArray[np.bool_]] | None = None
    ordered: tuple[bool, ...] | None = None
    listed: Listed | None = None
    excess: Callable[[Archs], NDArray[np.float64]] | None = None

    def cost(self, column: int, archs: Archs) -> NDArray[np.float64]:
        """A known cost, `(n, d)` to `(n,)`; its function is never called for no rows.

        Raises:
            KeyError: the cost is not known.
        """
        function = self.known[column]
        return function(archs) if len(archs) else np.empty(0)

    def fits(self, archs: Archs) -> NDArray[np.bool_]:
        """Which genomes `(n, d)` are networks that keep the bounds on known costs, `(n,)`."""
        found = np.ones(len(archs), dtype=np.bool_)
        if len(archs) and self.valid is not None:
            found &= self.valid(archs)
        if self.excess is not None and found.any():
            found[found] = self.excess(archs[found]) <= 0
        return found


@runtime_checkable
class Strategy(Protocol):
    """A search by ask and tell.

    The contract, which `nas.testing.check_strategy` holds every strategy to:

    1. The state is a pure function of the problem, the seed, the settings, and the tells in the order in which
       evaluations were completed; `ask` is one of that state and of what is pending, and changes nothing. So `ask`
       twice without a `tell` between gives the same rows, a new instance that is told the same in the same order
       continues the same, and resuming is replay.
    2. `ask(n, pending)` gives at most `n` rows, all inside the space, no two of them the same network, none that was
       told before, and none that is pending: out for evaluation, and not told yet. What is pending is neither a parent
       nor anything known. Fewer rows, or none, mean that nothing else is left.
    3. `tell` takes any rows in the space, asked for or not (an archive, another strategy's finds), any number at once.
    4. A cost row with a NaN or an infinity is a failure: it is remembered as seen and never becomes a parent while
       others exist.
    5. Constraints come as `violations`: 0 is feasible; feasible beats infeasible, less violation beats more (Deb 2000).
    6. Any number of objectives from 1 up, any batch size, and genes of a single option are problems like all others.
    7. What breaks a bound on known costs (`Problem.excess`) is asked for only where nothing else is left, the least
       broken first.
    """

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """Up to `n` architectures to evaluate next, `(<=n, d)`.

        `pending` is `(p, d)`: those that were asked for and are not told yet, or None where nothing is out. A strategy
        without this argument is taken as well; see `nas.operators.pending`.
        """

    def tell(self, archs: Archs, costs: Costs, violations: NDArray[np.float64] | None = None) -> None:
        """What they cost.

        `archs` is `(n, d)`, `costs` `(n, m)`, `violations` `(n,)` at least 0, or None if there are none.
        """


class Shown:
    """A strategy that says in one line what it searches."""

    _problem: Problem

    def __repr__(self) -> str:
        problem = self._problem
        return f"{type(self).__name__}({len(problem.choices)} genes, {problem.objectives} objectives)"


MakeStrategy = Callable[..., Strategy]
"""`STRATEGY(problem, *, seed, **settings)` of a strategy's module."""

Settings = Mapping[str, Any]
