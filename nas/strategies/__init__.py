"""Search strategies: they ask for architectures and are told what those cost.

Example:
    >>> import nas
    >>> strategy = nas.strategies.create("nsga2", choices=(5,) * 6, objectives=2, seed=0)
    >>> strategy.ask(10).shape
    (10, 6)

A strategy is one file here that defines `STRATEGY(problem, *, seed, **settings)` (see `protocol.Strategy` for the
contract); `nas.testing.check_strategy` is its conformance kit. Strategies that own a supernet are in `nas.gradient`.
This package never evaluates an architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.arguments import check_arguments
from device_profiles.errors import UsageError
from device_profiles.registry import Registry
from nas.arrays import Archs, Costs
from nas.operators.listed import Listed
from nas.operators.pending import with_pending
from nas.operators.protocol import MakeStrategy, Problem, Strategy

__all__ = ["REGISTRY", "Archs", "Costs", "Problem", "Strategy", "create", "names"]

REGISTRY: Registry[MakeStrategy] = Registry("strategy", "nas.strategies", attribute="STRATEGY")


def names() -> tuple[str, ...]:
    """All registered strategies that ask and tell."""
    return REGISTRY.names()


def create(
    name: str,
    *,
    choices: Sequence[int],
    objectives: int,
    seed: int = 0,
    known: Mapping[int, Callable[[Archs], NDArray[np.float64]]] | None = None,
    features: Callable[[Archs], NDArray[np.float64]] | None = None,
    canonical: Callable[[Archs], Archs] | None = None,
    valid: Callable[[Archs], NDArray[np.bool_]] | None = None,
    ordered: Sequence[bool] | None = None,
    listed: Archs | None = None,
    excess: Callable[[Archs], NDArray[np.float64]] | None = None,
    **settings: Any,
) -> Strategy:
    """Make a strategy for a problem.

    Its `ask` takes what is pending, also where the strategy has no such argument (`nas.operators.pending`).

    Args:
        name: a registered name.
        choices: options per gene, each at least 1.
        objectives: number of costs, at least 1.
        seed: the only source of randomness.
        known: columns of the costs that are free to know, as functions of `(n, d)` to `(n,)`.
        features: structural features, `(n, d) -> (n, f)`.
        canonical: equal rows of its result are the same network.
        valid: which genomes are networks at all.
        ordered: per gene, whether its options are in an order; None means that all genes are categories.
        listed: `(k, d)`, the only genomes that there are, such as the rows of a table; None where they are all that
            are `valid`.
        excess: by how much known costs break their bounds, `(n, d) -> (n,)`, 0 where they keep them; what breaks one is
            asked for only where nothing else is left.
        **settings: the strategy's own settings.

    Raises:
        UnknownName: no strategy has the name.
        UsageError: the problem or a setting is not one that the strategy takes.
    """
    if len(choices) == 0 or min(choices) < 1 or objectives < 1:
        raise UsageError(
            "a problem needs at least one gene of at least one option and one objective, "
            f"got choices={tuple(choices)}, objectives={objectives}"
        )
    if ordered is not None and len(ordered) != len(choices):
        raise UsageError(f"ordered says something of {len(ordered)} genes, choices of {len(choices)}")
    rows = None
    if listed is not None:
        rows = Listed.of(listed, tuple(int(c) for c in choices), seed)
        valid = rows.has
    problem = Problem(
        choices=tuple(int(c) for c in choices),
        objectives=int(objectives),
        known=dict(known or {}),
        features=features,
        canonical=canonical,
        valid=valid,
        ordered=None if ordered is None else tuple(bool(one) for one in ordered),
        listed=rows,
        excess=excess,
    )
    make = REGISTRY.get(name)
    hint = "See the strategy's page for its settings."
    check_arguments(f"strategy {name!r}", make, (problem,), {**settings, "seed": seed}, hint=hint)
    return with_pending(make(problem, seed=seed, **settings), problem)
