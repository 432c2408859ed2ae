"""One-shot search: random networks under weights of a model that has all options, trained with ever more of them gone.

Source: Bender et al., "Understanding and simplifying one-shot architecture search", ICML 2018, section 3. There, 20,000
    random networks are scored, and the best are trained alone; here what is best goes to the search's own objectives.
"""

from __future__ import annotations

from collections.abc import Iterator

from nas.gradient.protocol import Found, GradientProblem, all_costs, no_descent, wants
from nas.gradient.screening.rounds import screen


def one_shot(problem: GradientProblem, *, candidates: int = 2000, keep: int = 10, batch: int = 256) -> Iterator[Found]:
    """Search by random networks of the one-shot model; see `nas.gradient.screening.rounds`.

    Args:
        problem: space, supernet, data, costs and bounds.
        candidates: random networks.
        keep: of them that are scored again; as many as are to be found, where that is more.
        batch: validation examples in one batch.
    """
    yield from screen(problem, "one-shot", candidates=candidates, keep=keep, rounds=1, batch=batch)


GRADIENT = wants(trainer="path-dropout")(no_descent(all_costs(one_shot)))
