"""Towards bounds on known costs, in steps of one gene, where random genomes do not keep them."""

from __future__ import annotations

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.operators import variation
from nas.operators.protocol import Problem

#: Steps that are tried for each gene of each network.
_STEPS = 20


def descended(problem: Problem, archs: Archs, rng: np.random.Generator) -> Archs:
    """Networks that keep the bounds, or break them less, `(n, d)`; each from one row of `(n, d)`.

    In every round each network that still breaks a bound is changed in one gene, and stays so if it is a network and
    breaks its bounds no more than before: random local search (ours), which no evaluation is spent on.

    Args:
        problem: with `excess`.
        archs: networks.
        rng: randomness.

    Raises:
        UsageError: the problem bounds no known cost.
    """
    if problem.excess is None:
        raise UsageError("descent needs a problem with bounds on known costs")
    rows = archs.copy()
    amounts = problem.excess(rows) if len(rows) else np.empty(0)
    for _ in range(_STEPS * len(problem.choices)):
        broken = np.flatnonzero(amounts > 0)
        if len(broken) == 0:
            break
        tried = variation.one_step(rows[broken], problem, rng)
        valid = np.ones(len(broken), dtype=np.bool_) if problem.valid is None else problem.valid(tried)
        broken, tried = broken[valid], tried[valid]
        if len(broken) == 0:
            continue
        found = problem.excess(tried)
        better = found <= amounts[broken]
        rows[broken[better]], amounts[broken[better]] = tried[better], found[better]
    return rows
