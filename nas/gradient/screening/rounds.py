"""Random networks are scored on a batch, the best of them on all validation examples."""

from __future__ import annotations

from collections.abc import Iterator

from device_profiles.errors import UsageError
from nas.gradient.protocol import Found, GradientProblem
from nas.gradient.screening.drawing import drawn
from nas.gradient.screening.judging import Judge, joined, pool_of
from nas.streams import stream


def screen(
    problem: GradientProblem, name: str, *, candidates: int, keep: int, rounds: int, batch: int
) -> Iterator[Found]:
    """Search by looking.

    Each round draws random networks within the bounds, scores them on one validation batch of its own, and keeps the
    best by rank and crowding over loss and costs. What all rounds kept is scored on all validation examples, and the
    best of that, by rank and crowding again, is found.

    Source: Li & Talwalkar, "Random search and reproducibility for neural architecture search", UAI 2019, section 3;
        there for one objective and without bounds.

    Args:
        problem: space, supernet, data, costs and bounds.
        name: of the strategy.
        candidates: networks of a round.
        keep: of them that are scored again, or more where more are to be found.
        rounds: each with networks of its own.
        batch: validation examples in one batch.

    Yields:
        At most `problem.budget` networks, one each. Where none was found within the bounds, the closest.

    Raises:
        UsageError: a setting is below 1.
        Diverged: all losses were no numbers.
    """
    if min(candidates, keep, rounds, batch) < 1:
        raise UsageError(
            f"{name} needs at least one candidate, one that is kept, one round and one validation example, got "
            f"{candidates}, {keep}, {rounds}, {batch}"
        )
    if len(problem.skip) >= problem.budget:
        return
    judge = Judge(problem, name, batch)
    kept, beyond, seen = [], "", 0
    for number in range(rounds):
        pool = drawn(problem, candidates, stream(problem.seed, "screening.archs", number))
        beyond, seen = pool.note, seen + len(pool.archs)
        kept.append(judge.quickly(pool, number).best(problem, max(keep, -(-problem.budget // rounds))))
    again = judge.fully(pool_of(joined(kept))).best(problem, problem.budget)
    notes = [
        ", ".join(filter(None, (f"loss {loss:.4g}, one of {seen} that were looked at", beyond)))
        for loss in again.losses
    ]
    yield from judge.found(again.archs, notes)
