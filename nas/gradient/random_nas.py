"""RandomNAS with weight sharing: random networks under weights that were trained one random network at a time.

Source: Li & Talwalkar, "Random search and reproducibility for neural architecture search", UAI 2019, section 3: 1,000
    random networks on one validation batch, the ten best on all validation examples, in several rounds.
"""

from __future__ import annotations

from collections.abc import Iterator

from nas.gradient.protocol import Found, GradientProblem, all_costs, no_descent, wants
from nas.gradient.screening.rounds import screen


def random_nas(
    problem: GradientProblem, *, candidates: int = 1000, keep: int = 10, rounds: int = 2, batch: int = 256
) -> Iterator[Found]:
    """Search by random networks; see `nas.gradient.screening.rounds`.

    Args:
        problem: space, supernet, data, costs and bounds.
        candidates: random networks of a round.
        keep: of them that are scored again; as many as are to be found, where that is more.
        rounds: each with networks and a batch of its own.
        batch: validation examples in one batch.
    """
    yield from screen(problem, "random-nas", candidates=candidates, keep=keep, rounds=rounds, batch=batch)


GRADIENT = wants(trainer="uniform")(no_descent(all_costs(random_nas)))
