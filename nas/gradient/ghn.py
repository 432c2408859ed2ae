"""Random networks with weights by a graph hypernetwork, ranked by their loss and all predicted costs.

Source: Zhang, Ren & Urtasun, "Graph hypernetworks for neural architecture search", ICLR 2019, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator

from nas.gradient.protocol import Found, GradientProblem, all_costs, no_descent, wants
from nas.gradient.screening.changes import change


def ghn(
    problem: GradientProblem, *, networks: int = 1000, perturbations: int = 0, batch: int = 256, rate: float = 0.05
) -> Iterator[Found]:
    """Search by weights that a hypernetwork gives to random networks.

    Args:
        problem: space, supernet, data, costs and bounds.
        networks: random ones.
        perturbations: changes of the best ones after that, as in `smash`; the paper has none.
        batch: validation examples that all are judged on.
        rate: probability with which a change has another option of a gene.

    Yields:
        See `nas.gradient.screening.changes.change`.
    """
    yield from change(problem, "ghn", networks=networks, perturbations=perturbations, batch=batch, rate=rate)


GRADIENT = wants(weights="ghn")(no_descent(all_costs(ghn)))
