"""Random networks with weights by a convolutional hypernetwork, ranked by loss and predicted costs, then perturbed.

Source: Brock, Lim, Ritchie & Weston, "SMASH: one-shot model architecture search through hypernetworks", ICLR 2018.
"""

from __future__ import annotations

from collections.abc import Iterator

from nas.gradient.protocol import Found, GradientProblem, all_costs, no_descent, wants
from nas.gradient.screening.changes import change


def smash(
    problem: GradientProblem, *, networks: int = 500, perturbations: int = 100, batch: int = 256, rate: float = 0.05
) -> Iterator[Found]:
    """Search by weights that a hypernetwork gives to random networks, and to what differs a little from the best.

    Args:
        problem: space, supernet, data, costs and bounds.
        networks: random ones.
        perturbations: changes of the best ones after that.
        batch: validation examples that all are judged on.
        rate: probability with which a change has another option of a gene.

    Yields:
        See `nas.gradient.screening.changes.change`.
    """
    yield from change(problem, "smash", networks=networks, perturbations=perturbations, batch=batch, rate=rate)


GRADIENT = wants(weights="smash")(no_descent(all_costs(smash)))
