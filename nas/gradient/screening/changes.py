"""Random networks are scored on a batch, then networks that differ a little from the best."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.gradient.parts.costs import costs_of, excess
from nas.gradient.protocol import Found, GradientProblem
from nas.gradient.screening.drawing import Pool, drawn
from nas.gradient.screening.judging import Judge, Scored, joined
from nas.operators import selection
from nas.operators.variation import reset_mutation
from nas.streams import stream

#: A changed network that is known is changed again, so often.
_TRIES = 20


def change(
    problem: GradientProblem, name: str, *, networks: int, perturbations: int, batch: int, rate: float
) -> Iterator[Found]:
    """Rank random networks, then change the best ones.

    Source: Brock et al., "SMASH", ICLR 2018, sections 3.1 and 3.2, and their code (500 random ones, then 100 changes of
        the best with a probability for each choice); Zhang, Ren & Urtasun, "Graph hypernetworks for neural architecture
        search", ICLR 2019, section 5 (1000 random ones). There the loss alone ranks; here non-dominated sorting by the
        loss and all predicted costs does (Deb et al., "NSGA-II", IEEE TEVC 6(2), 2002), and what is changed is drawn
        from the front as it then is, so that all of it is looked into.

    Args:
        problem: space, supernet, data, costs and bounds.
        name: of the strategy.
        networks: random ones.
        perturbations: changed ones.
        batch: validation examples that all are judged on.
        rate: probability with which a gene is changed; one at least is.

    Yields:
        At most `problem.budget` networks, one each, the best first. Where none is within the bounds, the closest.

    Raises:
        UsageError: a setting is out of its range.
        Diverged: all losses were no numbers.
    """
    if min(networks, batch) < 1 or perturbations < 0 or not 0.0 <= rate <= 1.0:
        raise UsageError(
            f"{name} needs at least one network and validation example, and a rate in 0..1, got {networks}, {batch}, "
            f"{perturbations} perturbations and {rate:g}"
        )
    if len(problem.skip) >= problem.budget:
        return
    judge = Judge(problem, name, batch)
    pool = drawn(problem, networks, stream(problem.seed, "screening.archs", 0))
    known = judge.quickly(pool)
    seen = {arch.tobytes() for arch in pool.archs}
    rng = stream(problem.seed, "screening.changes")
    for _ in range(perturbations if pool.within else 0):
        child = changed(problem, known, seen, rate, rng)
        if child is None:
            break
        seen.add(child.archs[0].tobytes())
        known = joined([known, judge.quickly(child)])
    best = known.best(problem, problem.budget)
    notes = [
        ", ".join(filter(None, (f"loss {loss:.4g}, one of {len(seen)} that were looked at", pool.note)))
        for loss in best.losses
    ]
    yield from judge.found(best.archs, notes)


def changed(
    problem: GradientProblem, known: Scored, seen: set[bytes], rate: float, rng: np.random.Generator
) -> Pool | None:
    """A network within the bounds that was not seen, from one of the front; None where none was found."""
    choices = problem.space.choices
    for _ in range(_TRIES):
        parent = _parent(problem, known, rng)[None, :]
        child = reset_mutation(parent, choices, rng, rate=rate)
        if (child == parent).all():
            gene = int(rng.integers(len(choices)))
            child[:, gene : gene + 1] = reset_mutation(
                child[:, gene : gene + 1], choices[gene : gene + 1], rng, rate=1.0
            )
        child = problem.space.canonical(child)
        if child.tobytes() in seen or not problem.space.is_valid(child)[0]:
            continue
        costs = costs_of(problem, child)
        if excess(problem, costs)[0] <= 0:
            return Pool(child, costs)
    return None


def _parent(problem: GradientProblem, known: Scored, rng: np.random.Generator) -> Archs:
    """One of the non-dominated, `(d,)`, by crowding and chance."""
    values = np.column_stack([known.losses, known.costs])
    kept = selection.survivors(values, excess(problem, known.costs), len(values))
    (won,) = selection.tournaments(kept.ranks, kept.crowding, np.flatnonzero(kept.ranks == 0), 1, rng)
    return np.asarray(known.archs[int(kept.rows[won])])
